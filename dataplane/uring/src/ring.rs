//! The ring itself: sockets, requests in flight, the wait, and what completions mean.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memory::Slab;
use rustix::event::{EventfdFlags, eventfd};

use crate::buffers::BufferRing;
use crate::config::Sizes;
use crate::message::{CONTROL_BYTES, Message, PAYLOAD_START};
use crate::name::NAME_LEN;
use crate::pages::Pages;
use crate::sends::Sends;
use crate::setup::{self, step};
use crate::socket;
use crate::{Error, Received, RingConfig, RingCounters, Waker};

/// A socket of a ring, in the order they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketIndex(u16);

impl SocketIndex {
    /// The index of a socket that no ring knows, for a [`BatchReceiver`](crate::BatchReceiver).
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// Its place: the first socket added is 0.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The one buffer group of a ring.
const BUFFER_GROUP: u16 = 1;
/// A minimum wait ends before its time when so many requests are ready: each is a socket, and brings up
/// to 32 datagrams. From 6.13 on one enter runs at most the larger of this figure and 20. With a larger
/// one it would go on until all is taken that waited, megabytes: the first of it would have left the
/// cache before it is looked at, as would the slots that the next is written to. A smaller one makes no
/// portion smaller, and ends more waits early.
const WANT_BATCH: usize = 20;
/// So many completions are taken before they are looked at. What the kernel wrote is far away when many
/// came: it is asked for while those before are worked on.
const AHEAD: usize = 8;
/// Longer waits are cut to this: nobody sees the difference, and the kernel takes no larger figure
/// than its own.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A poll enters again while the kernel says that work waits, for one enter runs only about 20
/// sockets and 32 datagrams of one; but no more often than this, so that timers run.
const POLL_ENTERS_MAX: u32 = 16;
/// Closing: how often the cancellation is repeated, and how long each waits for the ends.
const CLOSE_ROUNDS: u32 = 20;
const CLOSE_ROUND: Duration = Duration::from_millis(100);

/// What a request's completion is about, as its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Receive(u16),
    Send(u32),
    Wake,
    Cancel,
    CancelOne(u16),
}

impl Token {
    const fn encode(self) -> u64 {
        match self {
            Self::Receive(socket) => 1 << 32 | socket as u64,
            Self::Send(slot) => 2 << 32 | slot as u64,
            Self::Wake => 3 << 32,
            Self::Cancel => 4 << 32,
            Self::CancelOne(socket) => 5 << 32 | socket as u64,
        }
    }

    fn decode(data: u64) -> Option<Self> {
        let low = data & u64::from(u32::MAX);
        match data >> 32 {
            1 => u16::try_from(low).ok().map(Self::Receive),
            2 => u32::try_from(low).ok().map(Self::Send),
            3 => Some(Self::Wake),
            4 => Some(Self::Cancel),
            5 => u16::try_from(low).ok().map(Self::CancelOne),
            _ => None,
        }
    }
}

/// A socket and its one receive.
struct Socket {
    fd: OwnedFd,
    v6: bool,
    /// The multishot receive is in flight.
    armed: bool,
    /// It is to be given back once its receive has ended.
    closing: bool,
    /// Datagrams the kernel dropped here, as last told, modulo 2^32; and in full.
    drops: u32,
    dropped: u64,
}

/// What requests in flight point at besides slots.
struct Shared {
    /// Zeroed pages hold it, so that its address is stable.
    pages: Pages,
}

/// Name and control lengths for every receive, and the eight bytes that the waker's read fills.
#[repr(C)]
struct SharedFields {
    receive: libc::msghdr,
    wakes: u64,
}

impl Shared {
    fn new() -> Result<Self, Error> {
        let pages = Pages::new(size_of::<SharedFields>())?;
        // SAFETY: all-zero is a valid msghdr: null pointers and zero lengths.
        let mut receive: libc::msghdr = unsafe { std::mem::zeroed() };
        receive.msg_namelen = NAME_LEN;
        receive.msg_controllen = CONTROL_BYTES;
        let fields = pages.base::<SharedFields>();
        // SAFETY: the pages are larger, aligned, and nobody else knows them yet.
        unsafe { fields.write(SharedFields { receive, wakes: 0 }) };
        Ok(Self { pages })
    }

    fn receive(&self) -> *const libc::msghdr {
        let fields: NonNull<SharedFields> = self.pages.base();
        fields.as_ptr().cast_const().cast()
    }

    fn wakes(&self) -> *mut u8 {
        let fields: NonNull<SharedFields> = self.pages.base();
        fields.as_ptr().wrapping_byte_add(std::mem::offset_of!(SharedFields, wakes)).cast()
    }
}

/// Everything the kernel may touch while requests are in flight.
struct Lent {
    buffers: BufferRing,
    sends: Sends,
    shared: Shared,
}

/// One worker's ring. See the crate for how it is used.
pub struct Ring {
    ring: IoUring,
    /// Completions that were taken and not looked at, at most [`AHEAD`].
    ahead: VecDeque<cqueue::Entry>,
    /// `None` once the kernel has let go.
    lent: Option<Lent>,
    /// By index; room for all from the start.
    sockets: Vec<Option<Socket>>,
    /// Sockets given back since they were last asked for.
    closed: Vec<SocketIndex>,
    sizes: Sizes,
    eventfd: Arc<OwnedFd>,
    wake_armed: bool,
    /// Sockets whose receive has ended, to be armed again: room for each once.
    ended: Vec<u16>,
    /// The kernel knows a minimum wait (6.12).
    min_wait_native: bool,
    /// The last wait brought completions: traffic flows.
    busy: bool,
    counters: RingCounters,
}

impl Ring {
    /// Makes a ring for this thread, its buffers filled with slots of `slab`.
    ///
    /// # Errors
    /// When the kernel cannot or must not do what a worker needs; the message names it.
    pub fn new(config: &RingConfig, slab: Slab) -> Result<Self, Error> {
        let sizes = config.sizes()?;
        let ring = setup::create(&sizes)?;
        let lent = Lent {
            buffers: BufferRing::new(sizes.buffers, slab, sizes.warm_first)?,
            sends: Sends::new(sizes.sends)?,
            shared: Shared::new()?,
        };
        // Blocking, so that the read waits in the ring.
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| step("making its eventfd")(errno.into()))?;
        let ring = Self {
            min_wait_native: ring.params().is_feature_min_timeout(),
            ring,
            ahead: VecDeque::with_capacity(AHEAD),
            lent: Some(lent),
            sockets: (0..sizes.sockets).map(|_| None).collect(),
            closed: Vec::with_capacity(sizes.sockets.into()),
            ended: Vec::with_capacity(sizes.sockets.into()),
            sizes,
            eventfd: Arc::new(eventfd),
            wake_armed: false,
            busy: false,
            counters: RingCounters::default(),
        };
        ring.register()?;
        setup::restrict_and_enable(&ring.ring)?;
        // By default the kernel adds 50 us to every timed wait of the thread.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Ok(ring)
    }

    /// The buffer group and the table of fixed files: sockets first, the waker's eventfd last.
    fn register(&self) -> Result<(), Error> {
        let submitter = self.ring.submitter();
        let buffers = &self.lent().buffers;
        // SAFETY: the entries stay mapped until the kernel has let go of them (see `release`).
        unsafe {
            submitter.register_buf_ring_with_flags(
                buffers.address(),
                buffers.len(),
                BUFFER_GROUP,
                0,
            )
        }
        .map_err(step("registering its buffer ring"))?;
        let files = u32::from(self.sizes.sockets) + 1;
        submitter.register_files_sparse(files).map_err(step("making its file table"))?;
        let eventfd = [self.eventfd.as_raw_fd()];
        let updated = submitter.register_files_update(self.wake_file(), &eventfd);
        updated.map(drop).map_err(step("registering its eventfd"))
    }

    /// Takes a bound socket and starts to receive on it, with the next wait, at the first free index.
    ///
    /// # Errors
    /// When the ring holds as many sockets as it was made for, or the kernel refuses the socket.
    pub fn add_socket(&mut self, fd: OwnedFd) -> Result<SocketIndex, Error> {
        let free = self.sockets.iter().position(Option::is_none);
        let index = free.and_then(|index| u16::try_from(index).ok());
        let index = SocketIndex(index.ok_or(Error::TooManySockets { max: self.sizes.sockets })?);
        self.add_socket_at(index, fd)?;
        Ok(index)
    }

    /// Like [`Ring::add_socket`], at an index that the caller knows to be free. Nothing is
    /// allocated.
    ///
    /// # Errors
    /// When the index is taken or beyond what the ring was made for, or the kernel refuses the
    /// socket.
    pub fn add_socket_at(&mut self, index: SocketIndex, fd: OwnedFd) -> Result<(), Error> {
        if !matches!(self.sockets.get(index.index()), Some(None)) {
            return Err(Error::TooManySockets { max: self.sizes.sockets });
        }
        let setup = |errno: rustix::io::Errno| step("looking at a socket")(errno.into());
        let v6 = rustix::net::sockopt::socket_domain(&fd).map_err(setup)?
            == rustix::net::AddressFamily::INET6;
        // A non-blocking socket would make receives fail instead of waiting.
        rustix::io::ioctl_fionbio(&fd, false).map_err(setup)?;
        self.ring
            .submitter()
            .register_files_update(index.0.into(), &[fd.as_raw_fd()])
            .map_err(step("registering a socket"))?;
        let socket = Socket { fd, v6, armed: false, closing: false, drops: 0, dropped: 0 };
        self.sockets[index.index()] = Some(socket);
        self.ended.push(index.0);
        Ok(())
    }

    /// Stops receiving on a socket and closes it; [`Ring::next_closed`] tells when it is gone. What
    /// was queued for sending on it is sent. Allocates nothing.
    pub fn close_socket(&mut self, index: SocketIndex) {
        let Some(socket) = self.sockets.get_mut(index.index()).and_then(Option::as_mut) else {
            return;
        };
        if std::mem::replace(&mut socket.closing, true) {
            return;
        }
        // One that is not armed waits among the ended and is given back from there.
        if socket.armed {
            self.cancel_receive(index.0);
        }
    }

    fn cancel_receive(&mut self, socket: u16) {
        let receive = CancelBuilder::user_data(Token::Receive(socket).encode());
        let cancel = opcode::AsyncCancel2::new(receive);
        self.push(cancel.build().user_data(Token::CancelOne(socket).encode()));
    }

    /// The next socket that was closed: its index is free from now on.
    pub fn next_closed(&mut self) -> Option<SocketIndex> {
        self.closed.pop()
    }

    /// A cancellation that met a receive in the midst of its work did nothing: once more.
    fn cancelled(&mut self, socket: u16, result: i32) {
        let place = self.sockets.get(usize::from(socket)).and_then(Option::as_ref);
        let closing = place.is_some_and(|socket| socket.closing && socket.armed);
        if closing && result == -libc::EALREADY {
            self.cancel_receive(socket);
        }
    }

    /// Closes a socket whose receive has ended.
    fn give_back(&mut self, index: u16) {
        // Behind a failed update the kernel would hold the file until the ring goes.
        let _ = self.ring.submitter().register_files_update(index.into(), &[-1]);
        self.sockets[usize::from(index)] = None;
        self.closed.push(SocketIndex(index));
    }

    /// A handle with which other threads end this ring's wait.
    pub fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.eventfd))
    }

    /// What happened so far.
    pub const fn counters(&self) -> &RingCounters {
        &self.counters
    }

    /// Submits what is queued and waits, then [`Ring::next`] has what came.
    ///
    /// The wait lasts until `timeout` when nothing happens. When something does, it ends at once
    /// with `min_wait` zero; else datagrams are gathered for `min_wait`, or until some 20 sockets have
    /// any, and a waker is heard only after it. What waited at many sockets comes in portions, one a
    /// wait. `min_wait` is never longer than `timeout`: give the time to the next timer. With
    /// `timeout` zero nothing waits: that is a poll, which enters the kernel only when there is
    /// something to do.
    ///
    /// # Errors
    /// When the kernel refuses in a way that no later wait mends.
    pub fn wait(&mut self, min_wait: Duration, timeout: Duration) -> Result<(), Error> {
        self.prepare();
        // What is not drained yet must not wait.
        if timeout.is_zero() || self.has_completions() {
            return self.poll();
        }
        let timeout = timeout.min(WAIT_MAX);
        match minimum_us(min_wait, timeout) {
            0 => self.enter(1, 0, timeout),
            us if self.min_wait_native => self.enter(WANT_BATCH, us, timeout),
            us => self.wait_in_two_steps(Duration::from_micros(us.into()), timeout),
        }
    }

    /// The minimum wait of kernels that have none: while traffic flows a plain timeout, else until the
    /// first completion, which then starts the flow.
    fn wait_in_two_steps(&mut self, min_wait: Duration, timeout: Duration) -> Result<(), Error> {
        if self.busy {
            self.enter(WANT_BATCH, 0, min_wait)?;
            self.busy = self.has_completions();
        }
        let rest = timeout.saturating_sub(min_wait);
        if !self.busy && !rest.is_zero() {
            self.enter(1, 0, rest)?;
            self.busy = self.has_completions();
        }
        Ok(())
    }

    /// Submits and runs what the kernel has deferred, without a wait.
    fn poll(&mut self) -> Result<(), Error> {
        for _ in 0..POLL_ENTERS_MAX {
            let queue = self.ring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                break;
            }
            drop(queue);
            self.counters.enters += 1;
            ended_well(self.ring.submit())?;
        }
        Ok(())
    }

    fn enter(&mut self, want: usize, min_wait_us: u32, timeout: Duration) -> Result<(), Error> {
        self.counters.enters += 1;
        let timeout = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timeout).min_wait_usec(min_wait_us);
        ended_well(self.ring.submitter().submit_with_args(want, &args))
    }

    /// Before a wait: fresh slots for the kernel, ended receives armed again, the waker armed.
    fn prepare(&mut self) {
        let all_seen = !self.has_completions() && !self.ring.submission().cq_overflow();
        let lent = self.lent.as_mut().expect("lent until the ring is closed");
        lent.buffers.refill(all_seen);
        self.counters.slots_starved = lent.buffers.starved();
        // With no buffer the receive would end at once: the kernel's queue holds the datagrams.
        if lent.buffers.has_buffers() {
            while let Some(socket) = self.ended.pop() {
                match &self.sockets[usize::from(socket)] {
                    Some(place) if place.closing => self.give_back(socket),
                    Some(_) => self.arm_receive(socket),
                    None => {}
                }
            }
        }
        if !self.wake_armed {
            self.arm_wake();
        }
    }

    fn arm_receive(&mut self, socket: u16) {
        let message = self.lent().shared.receive();
        let receive = opcode::RecvMsgMulti::new(Fixed(socket.into()), message, BUFFER_GROUP);
        self.push(receive.build().user_data(Token::Receive(socket).encode()));
        if let Some(place) = &mut self.sockets[usize::from(socket)] {
            place.armed = true;
        }
    }

    fn arm_wake(&mut self) {
        let read = opcode::Read::new(Fixed(self.wake_file()), self.lent().shared.wakes(), 8);
        self.push(read.build().user_data(Token::Wake.encode()));
        self.wake_armed = true;
    }

    /// Queues a request. What it points at is in `lent`, which outlives it.
    fn push(&mut self, request: squeue::Entry) {
        // SAFETY: every request points only into `lent`, whose parts do not move and are freed only
        // after all requests have ended (see `release`).
        let pushed = unsafe { self.ring.submission().push(&request) };
        pushed.expect("the submission queue holds every request that can be in flight");
    }

    /// The next datagram that came with the last wait. Call until it answers `None`.
    #[expect(clippy::should_implement_trait, reason = "a later wait brings more: no iterator")]
    pub fn next(&mut self) -> Option<Received> {
        loop {
            let completion = self.completion()?;
            match Token::decode(completion.user_data()) {
                Some(Token::Receive(socket)) => {
                    if let Some(received) = self.received(socket, &completion) {
                        return Some(received);
                    }
                }
                Some(Token::Send(index)) => self.sent(index, completion.result()),
                Some(Token::Wake) => {
                    self.wake_armed = false;
                    self.counters.wakes += u64::from(completion.result() == 8);
                }
                Some(Token::CancelOne(socket)) => self.cancelled(socket, completion.result()),
                Some(Token::Cancel) | None => {}
            }
        }
    }

    fn completion(&mut self) -> Option<cqueue::Entry> {
        let Self { ring, ahead, lent, .. } = self;
        let buffers = &lent.as_ref().expect("lent until the ring is closed").buffers;
        let mut queue = ring.completion();
        while ahead.len() < AHEAD
            && let Some(completion) = queue.next()
        {
            if let Some(id) = cqueue::buffer_select(completion.flags()) {
                buffers.prefetch(id, PAYLOAD_START.into());
            }
            ahead.push_back(completion);
        }
        ahead.pop_front()
    }

    fn has_completions(&mut self) -> bool {
        !self.ahead.is_empty() || !self.ring.completion().is_empty()
    }

    /// Hands all datagrams that came with the last wait to `f`.
    pub fn receive(&mut self, f: &mut impl FnMut(Received)) {
        while let Some(received) = self.next() {
            f(received);
        }
    }

    fn received(&mut self, socket: u16, completion: &cqueue::Entry) -> Option<Received> {
        let (result, flags) = (completion.result(), completion.flags());
        let bytes = u16::try_from(result).ok();
        let slot = cqueue::buffer_select(flags).map(|id| self.lent_mut().buffers.take(id));
        let message = slot.zip(bytes).and_then(|(slot, bytes)| Message::parse(slot, bytes));
        let empty = message.as_ref().is_some_and(|message| message.datagram.is_empty());
        if !cqueue::more(flags) {
            self.receive_ended(socket, result, empty);
        }
        let Some(message) = message else {
            self.counters.invalid += u64::from(result >= 0);
            return None;
        };
        self.counters.datagrams += 1;
        self.counters.bytes += message.datagram.len() as u64;
        self.counters.truncated += u64::from(message.truncated);
        if let Some(drops) = message.control.drops {
            self.dropped_by_kernel(socket, drops);
        }
        Some(Received {
            socket: SocketIndex(socket),
            peer: message.peer,
            datagram: message.datagram,
            arrival_realtime_ns: message.control.arrival_realtime_ns,
            truncated: message.truncated,
        })
    }

    /// A multishot receive is over and has to be armed again, whatever the cause.
    fn receive_ended(&mut self, socket: u16, result: i32, empty: bool) {
        let Some(place) = &mut self.sockets[usize::from(socket)] else { return };
        place.armed = false;
        if place.closing {
            return self.give_back(socket);
        }
        self.ended.push(socket);
        if empty {
            self.counters.rearms_empty += 1;
        } else if result == -libc::ENOBUFS {
            self.counters.rearms_no_buffers += 1;
        } else {
            self.counters.rearms_other += 1;
        }
    }

    fn dropped_by_kernel(&mut self, socket: u16, drops: u32) {
        let Some(place) = &mut self.sockets[usize::from(socket)] else { return };
        // The kernel counts modulo 2^32.
        let more = u64::from(drops.wrapping_sub(place.drops));
        place.drops = drops;
        place.dropped += more;
        self.counters.kernel_drops += more;
    }

    /// Datagrams that the kernel dropped at this socket since it was opened, as far as it has told;
    /// 0 for a socket that is not open.
    pub fn kernel_drops(&self, socket: SocketIndex) -> u64 {
        let socket = self.sockets.get(socket.index()).and_then(Option::as_ref);
        socket.map_or(0, |socket| socket.dropped)
    }

    /// Asks the kernel for its drop counts, which it else tells only with a later datagram: a system
    /// call for each socket, once a second or so.
    pub fn ask_kernel_drops(&mut self) {
        for index in 0..self.sockets.len() {
            if let Ok(index) = u16::try_from(index) {
                self.ask_kernel_drops_of(SocketIndex(index));
            }
        }
    }

    /// The same for one socket.
    pub fn ask_kernel_drops_of(&mut self, index: SocketIndex) {
        let Some(socket) = self.sockets.get(index.index()).and_then(Option::as_ref) else { return };
        if let Some(drops) = socket::kernel_drops(socket.fd.as_fd()) {
            self.dropped_by_kernel(index.0, drops);
        }
    }

    /// Queues a copy of `bytes` for `peer`; it leaves with the next wait. `false`: it was dropped
    /// (and counted), for no send slot was free, it does not fit one, or the
    /// socket is gone.
    pub fn send(&mut self, socket: SocketIndex, peer: SocketAddr, bytes: &[u8]) -> bool {
        self.send_with(socket, peer, |slot| {
            if let Some(place) = slot.get_mut(..bytes.len()) {
                place.copy_from_slice(bytes);
            }
            bytes.len()
        })
    }

    /// Like [`Ring::send`], with the bytes written in place: `write` gets a slot with stale bytes and
    /// answers how many of its first bytes to send.
    pub fn send_with(
        &mut self,
        socket: SocketIndex,
        peer: SocketAddr,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let v6 = self.sockets.get(socket.index()).and_then(Option::as_ref).map(|socket| socket.v6);
        let prepared = v6.and_then(|v6| self.lent_mut().sends.prepare(peer, v6, write));
        let Some(prepared) = prepared else {
            self.counters.sends_dropped += 1;
            return false;
        };
        let send = opcode::SendMsg::new(Fixed(socket.0.into()), prepared.header);
        self.push(send.build().user_data(Token::Send(prepared.index).encode()));
        true
    }

    fn sent(&mut self, index: u32, result: i32) {
        self.lent_mut().sends.complete(index);
        if result < 0 {
            self.counters.send_errors += 1;
        } else {
            self.counters.sent += 1;
        }
    }

    /// Sends what is queued, ends every request and gives everything back, so that the ports are
    /// free when this returns.
    ///
    /// # Errors
    /// When requests did not end although they were cancelled, for two seconds.
    pub fn close(mut self) -> Result<(), Error> {
        self.release()
    }

    /// Cancels, drains, unregisters: a ring closed with requests in flight holds its sockets on
    /// for tens of milliseconds, and the kernel might still write into slots.
    fn release(&mut self) -> Result<(), Error> {
        for _ in 0..CLOSE_ROUNDS {
            if self.in_flight() == 0 {
                break;
            }
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any().all());
            self.push(cancel.build().user_data(Token::Cancel.encode()));
            self.enter(self.in_flight() + 1, 0, CLOSE_ROUND)?;
            self.poll()?;
            while self.next().is_some() {}
        }
        let requests = self.in_flight();
        if requests > 0 {
            return Err(Error::Close { requests });
        }
        let submitter = self.ring.submitter();
        submitter.unregister_files().map_err(step("giving its files back"))?;
        submitter.unregister_buf_ring(BUFFER_GROUP).map_err(step("giving its buffers back"))?;
        self.lent = None;
        self.sockets.clear();
        Ok(())
    }

    /// Requests that have been queued and have not completed.
    fn in_flight(&self) -> usize {
        let receives = self.sockets.iter().flatten().filter(|socket| socket.armed).count();
        let sends = self.lent.as_ref().map_or(0, |lent| lent.sends.in_flight() as usize);
        receives + sends + usize::from(self.wake_armed)
    }

    /// The waker's place in the table of fixed files, behind the sockets.
    fn wake_file(&self) -> u32 {
        self.sizes.sockets.into()
    }

    fn lent(&self) -> &Lent {
        self.lent.as_ref().expect("lent until the ring is closed")
    }

    fn lent_mut(&mut self) -> &mut Lent {
        self.lent.as_mut().expect("lent until the ring is closed")
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.lent.is_some() && self.release().is_err() {
            // The kernel may still write there: better lost than written after it was freed.
            std::mem::forget(self.lent.take());
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("sockets", &self.sockets.iter().flatten().count())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The minimum wait the kernel is asked for: never longer than the timeout, for it would be waited
/// out all the same.
fn minimum_us(min_wait: Duration, timeout: Duration) -> u32 {
    u32::try_from(min_wait.min(timeout).as_micros()).unwrap_or(u32::MAX)
}

/// What ends a wait without completions is no failure: its time is up, a signal came, or the
/// completion queue must be drained first.
fn ended_well(entered: io::Result<usize>) -> Result<(), Error> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(Error::Wait(error)),
        },
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
