//! The reader's end of the link.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
    socket_with,
};

use super::message::{Incoming, Reply, Request, receive, send};
use super::{
    BackpressureAction, CommandError, MESSAGE_BYTES_MAX, OptionsSet, RtpSessionReport, SourceReport,
};
use crate::{ABI_VERSION, Directory, Error, GopReader};

/// A connection to the dataplane.
///
/// After an answer that did not come in time the connection is closed, because it might come
/// later and be taken for another: every further request then says [`Error::LinkClosed`].
#[derive(Debug)]
pub struct Link {
    path: PathBuf,
    timeout: Duration,
    socket: Option<OwnedFd>,
}

impl Link {
    /// Connects; this and every later request waits at most `timeout`.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let failed =
            |step| move |e: Errno| Error::Link { path: path.to_owned(), step, source: e.into() };
        let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("socket"))?;
        for side in [Timeout::Send, Timeout::Recv] {
            // Zero would mean no limit at all.
            let limit = timeout.max(Duration::from_millis(1));
            set_socket_timeout(&socket, side, Some(limit)).map_err(failed("timeout"))?;
        }
        match connect(&socket, &address) {
            Err(Errno::AGAIN) => Err(Error::LinkTimeout { waited_ms: millis(timeout) }),
            Err(error) => Err(failed("connect")(error)),
            Ok(()) => Ok(Self { path: path.to_owned(), timeout, socket: Some(socket) }),
        }
    }

    /// The directory, mapped and checked.
    pub fn directory(&mut self) -> Result<Directory, Error> {
        let (reply, fd) = self.ask(&Request::Hello { abi: ABI_VERSION })?;
        match (reply, fd) {
            (Reply::Directory, Some(fd)) => Directory::map(fd.as_fd()),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// The frames of a stream, from the oldest.
    pub fn ring(&mut self, stream_id: &str) -> Result<GopReader, Error> {
        let (reply, fd) = self.ask(&Request::Ring { stream_id: stream_id.to_owned() })?;
        match (reply, fd) {
            (Reply::Ring { generation, .. }, Some(fd)) => {
                GopReader::map_generation(fd.as_fd(), generation)
            }
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Ends a stream and keeps its id out for `block`.
    pub fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), Error> {
        let (stream_id, block_ms) = (stream_id.to_owned(), millis(block));
        self.command(&Request::Terminate { stream_id, block_ms })
    }

    /// The sources behind the id `after`, in the order of their ids, and whether there are more.
    pub fn sources(&mut self, after: Option<&str>) -> Result<(Vec<SourceReport>, bool), Error> {
        match self.ask(&Request::Sources { after: after.map(str::to_owned) })? {
            (Reply::Sources { sources, more }, None) => Ok((sources, more)),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Fetches one more stream, described with the keys of `ingestion.srt.sources`.
    pub fn add_source(&mut self, source: serde_json::Value) -> Result<(), Error> {
        self.command(&Request::AddSource { source })
    }

    /// Fetches a stream no more.
    pub fn remove_source(&mut self, id: &str) -> Result<(), Error> {
        self.command(&Request::RemoveSource { id: id.to_owned() })
    }

    /// Calls a source at once, whatever its breaker says.
    pub fn restart_source(&mut self, id: &str) -> Result<(), Error> {
        self.command(&Request::RestartSource { id: id.to_owned() })
    }

    /// The sessions of RTP behind the id `after`, in the order of their ids, and whether there are
    /// more.
    pub fn rtp_sessions(
        &mut self,
        after: Option<&str>,
    ) -> Result<(Vec<RtpSessionReport>, bool), Error> {
        match self.ask(&Request::RtpSessions { after: after.map(str::to_owned) })? {
            (Reply::RtpSessions { sessions, more }, None) => Ok((sessions, more)),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Takes one more session of RTP, described with the keys of `ingestion.rtp.sessions`.
    pub fn add_rtp_session(&mut self, session: serde_json::Value) -> Result<(), Error> {
        self.command(&Request::AddRtpSession { session })
    }

    /// Takes a session of RTP no more. Its sockets are free once it is no longer told of.
    pub fn remove_rtp_session(&mut self, id: &str) -> Result<(), Error> {
        self.command(&Request::RemoveRtpSession { id: id.to_owned() })
    }

    fn command(&mut self, request: &Request) -> Result<(), Error> {
        match self.ask(request)? {
            (Reply::Done, None) => Ok(()),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Turns the connection into one that listens.
    pub(super) fn attend(mut self) -> Result<OwnedFd, Error> {
        match self.ask(&Request::Attend)? {
            (Reply::Done, None) => self.socket.take().ok_or(Error::LinkClosed),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// The options of a stream.
    pub fn options(&mut self, stream_id: &str) -> Result<serde_json::Value, Error> {
        match self.ask(&Request::Options { stream_id: stream_id.to_owned() })? {
            (Reply::Options { options }, None) => Ok(options),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Changes options of a stream, named as in the configuration file.
    pub fn set_options(
        &mut self,
        stream_id: &str,
        options: serde_json::Value,
    ) -> Result<OptionsSet, Error> {
        let stream_id = stream_id.to_owned();
        match self.ask(&Request::SetOptions { stream_id, options })? {
            (Reply::OptionsSet(set), None) => Ok(set),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// Steers the backpressure of a stream.
    pub fn backpressure(
        &mut self,
        stream_id: &str,
        action: BackpressureAction,
    ) -> Result<(), Error> {
        let stream_id = stream_id.to_owned();
        match self.ask(&Request::Backpressure { stream_id, action })? {
            (Reply::Done, None) => Ok(()),
            (reply, fd) => Err(unexpected(&reply, fd.is_some())),
        }
    }

    /// One request and its answer; a refusal is an error.
    fn ask(&mut self, request: &Request) -> Result<(Reply, Option<OwnedFd>), Error> {
        let socket = self.socket.take().ok_or(Error::LinkClosed)?;
        let failed = |step| {
            let (path, timeout) = (self.path.clone(), self.timeout);
            move |errno| match errno {
                Errno::AGAIN => Error::LinkTimeout { waited_ms: millis(timeout) },
                Errno::CONNRESET | Errno::PIPE => Error::LinkClosed,
                Errno::MSGSIZE => Error::LinkMessage {
                    reason: format!("request longer than {MESSAGE_BYTES_MAX} bytes"),
                },
                error => Error::Link { path, step, source: error.into() },
            }
        };
        match send(socket.as_fd(), request, None, SendFlags::empty()) {
            // One that turns us away says why before it closes; that may still be read.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => {}
            Err(Errno::MSGSIZE) => {
                self.socket = Some(socket);
                return Err(failed("sendmsg")(Errno::MSGSIZE));
            }
            Err(error) => return Err(failed("sendmsg")(error)),
        }
        let answer = || receive(socket.as_fd(), true, RecvFlags::empty());
        let incoming = match answer() {
            Err(Errno::CONNRESET) => answer(),
            other => other,
        };
        let (reply, fd) = match incoming.map_err(failed("recvmsg"))? {
            Incoming::Closed => return Err(Error::LinkClosed),
            Incoming::Oversize => {
                let reason = format!("answer longer than {MESSAGE_BYTES_MAX} bytes");
                return Err(Error::LinkMessage { reason });
            }
            Incoming::Message(bytes, fd) => (serde_json::from_slice(&bytes), fd),
        };
        let reply = reply.map_err(|e| Error::LinkMessage { reason: format!("answer: {e}") })?;
        self.socket = Some(socket);
        if let Reply::Error(error) = reply {
            if error.code == CommandError::TOO_MANY_CLIENTS {
                self.socket = None;
            }
            return Err(Error::Refused(error));
        }
        Ok((reply, fd))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unexpected(reply: &Reply, with_fd: bool) -> Error {
    let with = if with_fd { "with" } else { "without" };
    Error::LinkMessage { reason: format!("unexpected answer {reply:?} {with} a descriptor") }
}
