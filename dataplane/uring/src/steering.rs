//! Which socket of a group gets a datagram: a classic BPF program that the kernel runs for each.

use std::io;
use std::os::fd::BorrowedFd;

use crate::socket::set_option;

/// How the datagrams of one port are spread over the sockets of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Steering {
    /// By the destination socket id of SRT (bytes 12 to 15, big-endian): id modulo members. With
    /// id 0 (a handshake's first packets) and shorter than a header, by the kernel's hash of both
    /// addresses and ports, so that one peer's handshake stays on one member.
    SrtSocketId,
}

/// The answer that is no member: the kernel then chooses by its hash.
const NO_MEMBER: u32 = u32::MAX;
/// An SRT header; the id is its last word.
const SRT_HEADER_BYTES: u32 = 16;
const SRT_ID_OFFSET: u32 = 12;

impl Steering {
    /// The program for `members` sockets. Offsets count from the UDP payload, as does the length.
    fn program(self, members: u32) -> [libc::sock_filter; 7] {
        let Self::SrtSocketId = self;
        // Jumps count instructions to skip. A load beyond the payload would answer 0, so that all
        // junk went to member 0: the length is checked first.
        [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 4, SRT_HEADER_BYTES),
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, SRT_ID_OFFSET),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, 0),
            instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, members),
            instruction(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0, NO_MEMBER),
        ]
    }

    /// Gives `socket`, not yet bound, a group of its own with this program.
    pub(crate) fn attach(self, socket: BorrowedFd<'_>, members: u32) -> io::Result<()> {
        let mut program = self.program(members);
        let attached = libc::sock_fprog {
            len: u16::try_from(program.len()).expect("seven instructions"),
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the option takes a sock_fprog, which points at `len` instructions; both live
        // until the kernel has copied them.
        unsafe { set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &attached) }
    }
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("classic BPF codes have 16 bits");
    libc::sock_filter { code, jt: jump_true, jf: jump_false, k: operand }
}
