//! A system that refuses io_uring is told by what to change, not by a number.
//!
//! A seccomp filter on the test's own thread plays the system.

use memory::Slab;
use penstock_uring::{Error, Ring, RingConfig};

/// From now on `io_uring_setup` fails with `errno` on this thread.
fn refuse_setup(errno: u16) {
    let load_number = u16::try_from(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS).unwrap();
    let jump_equal = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).unwrap();
    let answer = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap();
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        instruction(load_number, 0, 0, 0),
        instruction(jump_equal, 0, 1, setup),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ERRNO | u32::from(errno)),
        instruction(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: takes integers only.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(failed, 0);
    // SAFETY: the filter and its instructions live through the call.
    let failed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(failed, 0);
}

fn refused_with(errno: i32) -> Error {
    let errno = u16::try_from(errno).unwrap();
    let attempt = std::thread::spawn(move || {
        refuse_setup(errno);
        let slab = Slab::new(16).unwrap();
        let config = RingConfig { buffer_entries: 16, ..RingConfig::default() };
        Ring::new(&config, slab).map(drop).unwrap_err()
    });
    attempt.join().unwrap()
}

#[test]
fn a_seccomp_filter_is_named() {
    assert!(matches!(refused_with(libc::EPERM), Error::NotPermitted));
}

#[test]
fn a_kernel_without_io_uring_is_named() {
    assert!(matches!(refused_with(libc::ENOSYS), Error::NoIoUring));
}

#[test]
fn a_kernel_too_old_is_named_with_the_feature() {
    let error = refused_with(libc::EINVAL);
    assert!(matches!(error, Error::MissingFeature { since: "6.1", .. }), "{error}");
}
