//! The link's grammar, and one message with its descriptor to and from the socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::{
    BackpressureAction, Decision, Event, OptionsSet, Question, RtpSessionReport, SourceReport,
};

/// Longest message. A request's largest part is a session description, of about a kilobyte for each
/// medium, or a stream id of 512 bytes, at most six times that in JSON escapes.
pub const MESSAGE_BYTES_MAX: usize = 8192;

/// Longest text of an error that is sent; the rest is cut.
const ERROR_TEXT_BYTES_MAX: usize = 512;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Hand the directory over, if we speak the same ABI.
    Hello { abi: u32 },
    /// Hand the ring of a stream over.
    Ring { stream_id: String },
    /// End a stream and keep its id out for a while.
    Terminate { stream_id: String, block_ms: u64 },
    /// Tell the sources behind that id, as many as fit.
    Sources { after: Option<String> },
    /// Fetch one more stream, described as in the configuration file.
    AddSource { source: serde_json::Value },
    /// Fetch it no more.
    RemoveSource { id: String },
    /// Call it at once.
    RestartSource { id: String },
    /// Tell the sessions of RTP behind that id, as many as fit.
    RtpSessions { after: Option<String> },
    /// Take one more session of RTP, described as in the configuration file.
    AddRtpSession { session: serde_json::Value },
    /// Take it no more.
    RemoveRtpSession { id: String },
    /// From now on tell what happens, and ask about publishers.
    Attend,
    /// The answer to a question; it has no reply.
    Decide { question: u64, decision: Decision },
    /// Steer the backpressure of a stream.
    Backpressure { stream_id: String, action: BackpressureAction },
    /// Tell the options of a stream.
    Options { stream_id: String },
    /// Change options of a stream, named as in the configuration file.
    SetOptions { stream_id: String, options: serde_json::Value },
}

/// What the dataplane says unasked to the client that attends it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "push", rename_all = "snake_case")]
pub(super) enum Push {
    /// Something happened.
    Event(Box<Event>),
    /// Somebody wants to publish.
    Question(Box<Question>),
}

/// The same for sending.
#[derive(Debug, Serialize)]
#[serde(tag = "push", rename_all = "snake_case")]
pub(super) enum PushRef<'a> {
    Event(&'a Event),
    Question(&'a Question),
}

/// What the dataplane answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// With the directory's descriptor.
    Directory,
    /// With the ring's descriptor.
    Ring { ring: u32, generation: u64 },
    /// Sources, and whether there are more behind them.
    Sources { sources: Vec<SourceReport>, more: bool },
    /// Sessions of RTP, and whether there are more behind them.
    RtpSessions { sessions: Vec<RtpSessionReport>, more: bool },
    /// The command was carried out.
    Done,
    /// The options of a stream.
    Options { options: serde_json::Value },
    /// Options were changed.
    OptionsSet(OptionsSet),
    /// The request was refused.
    Error(CommandError),
}

/// Why the dataplane refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} ({code})")]
pub struct CommandError {
    /// Stable, for programs: "not_found".
    pub code: String,
    /// For people.
    pub message: String,
}

impl CommandError {
    /// No such stream.
    pub const NOT_FOUND: &'static str = "not_found";
    /// The stream is in a state in which that cannot be done.
    pub const WRONG_STATE: &'static str = "wrong_state";
    /// Another client attends already.
    pub const ATTENDED: &'static str = "attended";
    /// The client was built for another version of the ABI.
    pub const ABI_MISMATCH: &'static str = "abi_mismatch";
    /// The message does not parse or says nothing known.
    pub const INVALID: &'static str = "invalid_request";
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    pub const OVERSIZE: &'static str = "oversize_request";
    /// There is one with that id.
    pub const EXISTS: &'static str = "already_exists";
    /// Something else has the port.
    pub const ADDRESS_IN_USE: &'static str = "address_in_use";
    /// There are as many as there may be.
    pub const LIMIT: &'static str = "limit_reached";
    /// What is to be made is described wrongly; the message names the key.
    pub const INVALID_OPTION: &'static str = "invalid_option";
    /// A source is described wrongly; the message names the key.
    pub const INVALID_SOURCE: &'static str = "invalid_source";
    /// A session of RTP is described wrongly; the message names the key.
    pub const INVALID_SESSION: &'static str = "invalid_session";
    /// As many clients as the dataplane serves are connected.
    pub const TOO_MANY_CLIENTS: &'static str = "too_many_clients";

    /// With a code and a message.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// Short enough for any message.
    pub(super) fn cut(mut self) -> Self {
        for text in [&mut self.code, &mut self.message] {
            text.truncate(text.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
        }
        self
    }
}

/// A message as it came in.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The other side is gone.
    Closed,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    Oversize,
    /// Its bytes and the first descriptor that rode along.
    Message(Vec<u8>, Option<OwnedFd>),
}

/// Takes the next message. Descriptors are only taken where one is expected; all others the kernel
/// closes.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    expects_fd: bool,
    flags: RecvFlags,
) -> Result<Incoming, Errno> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let space = if expects_fd { &mut space[..] } else { &mut [] };
    let mut control = RecvAncillaryBuffer::new(space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut parts, &mut control, flags)
    })?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Incoming::Oversize);
    }
    // An empty packet cannot be told from the end; nobody sends one.
    if received.bytes == 0 {
        return Ok(Incoming::Closed);
    }
    bytes.truncate(received.bytes);
    Ok(Incoming::Message(bytes, fd))
}

/// Sends one message whole.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(message).expect("plain structs of text and numbers");
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fd) = &fd {
        let pushed = control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(fd)));
        debug_assert!(pushed, "there is room for one descriptor");
    }
    let parts = [IoSlice::new(&bytes)];
    let flags = flags | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &parts, &mut control, flags))?;
    Ok(())
}
