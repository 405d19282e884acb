//! Makes the kernel's side of a ring: disabled, restricted to what a worker needs, then enabled.
//!
//! Seccomp does not see io_uring operations, so the ring itself is told what it may do.

use std::fs;
use std::io;

use io_uring::register::Restriction;
use io_uring::{IoUring, Probe, opcode, squeue};

use crate::Error;
use crate::config::Sizes;

/// `IORING_UNREGISTER_FILES`, `IORING_REGISTER_FILES_UPDATE` and `IORING_UNREGISTER_PBUF_RING` of
/// `linux/io_uring.h`: what a worker registers after start, and takes back before its exit.
const REGISTER_ALLOWED: [u8; 3] = [3, 6, 23];

/// The operations a worker submits: receive, send, the waker's read, and the final cancellation.
const SUBMIT_ALLOWED: [(u8, &str); 4] = [
    (opcode::RecvMsgMulti::CODE, "the io_uring operation RECVMSG"),
    (opcode::SendMsg::CODE, "the io_uring operation SENDMSG"),
    (opcode::Read::CODE, "the io_uring operation READ"),
    (opcode::AsyncCancel::CODE, "the io_uring operation ASYNC_CANCEL"),
];

/// A disabled ring with the flags of a worker.
pub(crate) fn create(sizes: &Sizes) -> Result<IoUring, Error> {
    let mut builder = IoUring::builder();
    builder
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        // One refused request must not hold up those behind it.
        .setup_submit_all()
        .setup_cqsize(sizes.completions);
    let ring = builder.build(sizes.submissions).map_err(|source| explain(source, disabled()))?;
    let params = ring.params();
    require(params.is_feature_ext_arg(), "the io_uring feature EXT_ARG", "5.11")?;
    require(params.is_feature_nodrop(), "the io_uring feature NODROP", "5.5")?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(step("probing its operations"))?;
    for (code, name) in SUBMIT_ALLOWED {
        require(probe.is_supported(code), name, "6.1")?;
    }
    Ok(ring)
}

/// Allows what a worker does, nothing else, and starts the ring on this thread.
pub(crate) fn restrict_and_enable(ring: &IoUring) -> Result<(), Error> {
    let flags = squeue::Flags::FIXED_FILE | squeue::Flags::BUFFER_SELECT;
    let mut restrictions: Vec<Restriction> = SUBMIT_ALLOWED
        .iter()
        .map(|&(code, _)| Restriction::sqe_op(code))
        .chain(REGISTER_ALLOWED.map(Restriction::register_op))
        .chain([Restriction::sqe_flags_allowed(flags.bits())])
        .collect();
    let submitter = ring.submitter();
    submitter.register_restrictions(&mut restrictions).map_err(step("restricting it"))?;
    submitter.register_enable_rings().map_err(step("enabling it"))
}

/// Names the step of the set-up that an error belongs to.
pub(crate) const fn step(step: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Setup { step, source }
}

fn require(present: bool, feature: &'static str, since: &'static str) -> Result<(), Error> {
    if present { Ok(()) } else { Err(Error::MissingFeature { feature, since, release: release() }) }
}

/// What `io_uring_setup`'s error means to the person who has to mend it.
fn explain(source: io::Error, disabled: u8) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOSYS) => Error::NoIoUring,
        Some(libc::EPERM) if disabled != 0 => Error::Disabled { value: disabled },
        Some(libc::EPERM | libc::EACCES) => Error::NotPermitted,
        Some(libc::ENOMEM) => Error::Memory,
        // The sizes are within the kernel's limits, so it is the youngest flag it does not know.
        Some(libc::EINVAL) => Error::MissingFeature {
            feature: "the io_uring flag DEFER_TASKRUN",
            since: "6.1",
            release: release(),
        },
        _ => Error::Setup { step: "io_uring_setup", source },
    }
}

/// The sysctl `kernel.io_uring_disabled`; 0 where the kernel has none (before 6.6).
fn disabled() -> u8 {
    let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    value.ok().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, disabled: u8) -> String {
        explain(io::Error::from_raw_os_error(errno), disabled).to_string()
    }

    #[test]
    fn a_refused_ring_names_what_to_change() {
        assert!(explained(libc::EPERM, 2).contains("kernel.io_uring_disabled is 2"));
        assert!(explained(libc::EPERM, 0).contains("seccomp"));
        assert!(explained(libc::ENOSYS, 0).contains("Linux 6.1"));
        assert!(explained(libc::ENOMEM, 0).contains("LimitMEMLOCK"));
        let too_old = explained(libc::EINVAL, 0);
        assert!(too_old.contains("DEFER_TASKRUN") && too_old.contains(&release()), "{too_old}");
        assert!(explained(libc::EMFILE, 0).contains("io_uring_setup"));
    }

    #[test]
    fn a_missing_feature_is_named_with_the_release_that_brought_it() {
        let error = require(false, "the io_uring feature EXT_ARG", "5.11").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("EXT_ARG") && text.contains("5.11"), "{text}");
    }
}
