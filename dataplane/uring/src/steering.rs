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
    /// By the SSRC of RTP (bytes 8 to 11, big-endian): SSRC modulo members, so that a stream stays on
    /// one member whatever its address becomes. What is shorter than a header goes by the kernel's
    /// hash.
    RtpSsrc,
    /// The same by the sender's SSRC of RTCP (bytes 4 to 7).
    RtcpSsrc,
}

/// The answer that is no member: the kernel then chooses by its hash.
const NO_MEMBER: u32 = u32::MAX;
/// An SRT header; the id is its last word.
const SRT_HEADER_BYTES: u32 = 16;
const SRT_ID_OFFSET: u32 = 12;
/// RFC 3550, 5.1; the SSRC is the header's last word.
const RTP_HEADER_BYTES: u32 = 12;
const RTP_SSRC_OFFSET: u32 = 8;
/// RFC 3550, 6.4.1: the first packet's header and its sender.
const RTCP_HEADER_BYTES: u32 = 8;
const RTCP_SSRC_OFFSET: u32 = 4;

impl Steering {
    /// The program for `members` sockets. Offsets count from the UDP payload, as does the length.
    fn program(self, members: u32) -> [libc::sock_filter; 7] {
        let (header, offset) = match self {
            Self::SrtSocketId => (SRT_HEADER_BYTES, SRT_ID_OFFSET),
            Self::RtpSsrc => (RTP_HEADER_BYTES, RTP_SSRC_OFFSET),
            Self::RtcpSsrc => (RTCP_HEADER_BYTES, RTCP_SSRC_OFFSET),
        };
        // An SSRC of 0 is one like any other; an id of 0 names nobody.
        let zero = if self == Self::SrtSocketId { 2 } else { 0 };
        // Jumps count instructions to skip. A load beyond the payload would answer 0, so that all
        // junk went to member 0: the length is checked first.
        [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 4, header),
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, zero, 0, 0),
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
