//! The one table of counters: identity, label, meaning. Each is a single-writer `u64` in shared
//! memory; a *gauge* may go down, everything else only grows.

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// Every counter in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name in REST, metrics and tools.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

counters! {
    /// Counters of one stream. They belong to the stream id and continue over a reconnect.
    StreamCounter {
        /// Datagrams that reached the session, of any kind, retransmissions included.
        DatagramsReceived => "datagrams_received",
        /// Their UDP payload bytes.
        BytesReceived => "bytes_received",
        /// Data packets received = unique + duplicate + belated + dropped; of RTP, + held, and those
        /// that error correction restored are among these.
        PacketsReceived => "packets_received",
        /// Data packets accepted for the first time; = delivered + held + discarded at the end. Of RTP
        /// without those held: their place may prove not to be the session's.
        PacketsUnique => "packets_unique",
        /// Data packets handed to the demultiplexer in order.
        PacketsDelivered => "packets_delivered",
        /// Payload bytes handed to the demultiplexer in order.
        BytesDelivered => "bytes_delivered",
        /// Sequence numbers found missing: a later packet came, or the sender gave them up (libsrt
        /// pktRcvLoss); = recovered + skipped + missing.
        PacketsLost => "packets_lost",
        /// Data packets that carried the retransmitted flag (libsrt pktRcvRetrans).
        PacketsRetransmitted => "packets_retransmitted",
        /// Packets found missing that came in time after all.
        PacketsRecovered => "packets_recovered",
        /// Of these, the ones that were not retransmitted: they had only been overtaken.
        PacketsReordered => "packets_reordered",
        /// Packets that came after their place was given up (libsrt pktRcvBelated).
        PacketsBelated => "packets_belated",
        /// How late these were in all, microseconds.
        BelatedUs => "belated_us",
        /// Packets that came again while their place was filled or delivered.
        PacketsDuplicate => "packets_duplicate",
        /// Sequence numbers given up at their delivery time (too-late packet drop), or missing when
        /// the session ended.
        PacketsSkippedTooLate => "packets_skipped_too_late",
        /// Sequence numbers the sender gave up (drop request).
        PacketsSkippedBySender => "packets_skipped_by_sender",
        /// Data packets dropped: beyond the receive window.
        PacketsDroppedWindow => "packets_dropped_window",
        /// Data packets dropped: no slot within the session's share.
        PacketsDroppedSlots => "packets_dropped_slots",
        /// Data packets dropped: malformed or impossible.
        PacketsDroppedInvalid => "packets_dropped_invalid",
        /// Data packets dropped: no key is held for them, or their tag is wrong (libsrt
        /// pktRcvUndecrypt).
        PacketsUndecryptable => "packets_undecryptable",
        /// Of these: their authentication tag is wrong.
        PacketsTagInvalid => "packets_tag_invalid",
        /// Data packets dropped: clear text in an encrypted session.
        PacketsDroppedClear => "packets_dropped_clear",
        /// Accepted packets discarded because the session ended.
        PacketsDiscardedAtEnd => "packets_discarded_at_end",
        /// Gauge: packets waiting behind a hole.
        PacketsHeld => "packets_held",
        /// Gauge: packets found missing that may still come.
        PacketsMissing => "packets_missing",
        /// Gauge: packets received in order that are not due yet (libsrt pktRcvBuf).
        BufferedPackets => "buffered_packets",
        /// Gauge: time until the last of these is due, microseconds (libsrt msRcvBuf).
        BufferedUs => "buffered_us",
        /// Gauge: packets that may overtake a missing one before it is reported.
        ReorderTolerancePackets => "reorder_tolerance_packets",
        /// Gauge: the most packets by which a packet was overtaken since the connection began.
        ReorderDistancePackets => "reorder_distance_packets",
        /// Control packets that did not parse or made no sense.
        ControlInvalid => "control_invalid",
        /// Datagrams with this session's socket id from another address.
        WrongSource => "wrong_source",
        /// Full acknowledgements sent.
        AcksSent => "acks_sent",
        /// Light acknowledgements sent.
        LightAcksSent => "light_acks_sent",
        /// ACKACKs received.
        AckacksReceived => "ackacks_received",
        /// Loss reports (NAK) sent.
        NaksSent => "naks_sent",
        /// Drop requests received.
        DropRequestsReceived => "drop_requests_received",
        /// Keepalives received.
        KeepalivesReceived => "keepalives_received",
        /// Key material messages received.
        KeyMessagesReceived => "key_messages_received",
        /// Of these: malformed, not asked for, or too soon after another.
        KeyMessagesIgnored => "key_messages_ignored",
        /// Key changes that took effect.
        KeyRefreshes => "key_refreshes",
        /// Key changes refused: another passphrase or another cipher.
        KeyFailures => "key_failures",
        /// Gauge: smoothed round-trip time, microseconds.
        RttUs => "rtt_us",
        /// Gauge: round-trip time variance, microseconds.
        RttVarianceUs => "rtt_variance_us",
        /// Gauge: negotiated receive latency, milliseconds.
        LatencyMs => "latency_ms",
        /// Gauge: total drift moved into the time base, microseconds, as two's complement.
        DriftUs => "drift_us",
        /// Gauge: advertised free window, packets.
        FlowWindowPackets => "flow_window_packets",
        /// Datagrams the kernel dropped at the session's socket since its connection began.
        SocketKernelDrops => "socket_kernel_drops",
        /// Gauge: 1 where that socket is a listener's and carries other sessions too: these drops
        /// may be theirs.
        SocketShared => "socket_shared",
        /// Gauge: priority; the lowest of a worker's streams yield first.
        Priority => "priority",
        /// Gauge: highest media rate that is allowed, bits per second.
        MaxBandwidthBps => "max_bandwidth_bps",
        /// Seconds in which the media rate was above that.
        BandwidthExceeded => "bandwidth_exceeded_seconds",
        /// Gauge: how short memory is for this stream, thousandths: its worker's slots, its share of
        /// them, its frames that wait to be published.
        PressureMeasuredPermille => "pressure_measured_permille",
        /// Gauge: pressure that is acted on, thousandths: the measured one, or what an operator set.
        PressurePermille => "pressure_permille",
        /// Gauge: 1 while an operator's value is acted on.
        PressureSet => "pressure_set",
        /// Gauge: most packets of free window that pressure lets be advertised; 0: it limits nothing.
        WindowLimitPackets => "window_limit_packets",
        /// Times that pressure changed that limit.
        PressureChanges => "pressure_changes",
        /// Gauge: `CLOCK_MONOTONIC` nanoseconds of the last such change; 0 before the first.
        PressureChangedNs => "pressure_changed_ns",
        /// Gauge: received rate over the last second, bits per second.
        ReceiveRateBps => "receive_rate_bps",
        /// Gauge: estimated link capacity, packets per second.
        LinkCapacityPps => "link_capacity_pps",
        /// Gauge: `CLOCK_MONOTONIC` nanoseconds of the last datagram from the peer.
        LastReceivedNs => "last_received_ns",
        /// Accepted connections of this stream id, the first included.
        Connections => "connections",

        /// RTP packets that came again on the other leg.
        PacketsRedundant => "packets_redundant",
        /// RTP packets that retransmissions brought back.
        PacketsRecoveredRtx => "packets_recovered_rtx",
        /// RTP packets that forward error correction restored.
        PacketsRecoveredFec => "packets_recovered_fec",
        /// RTP packets dropped: above the session's rate limit.
        PacketsDroppedRate => "packets_dropped_rate",
        /// RTP packets dropped: from an address that is not the session's.
        PacketsDroppedSource => "packets_dropped_source",
        /// RTP packets dropped: of a payload type that the session does not have.
        PacketsDroppedUnmapped => "packets_dropped_unmapped",
        /// RTP packets dropped: their source did not prove itself.
        PacketsDroppedProbation => "packets_dropped_probation",
        /// RTP packets dropped: far from their sequence.
        PacketsDroppedJump => "packets_dropped_jump",
        /// RTP packets dropped: what they carry was not recognised.
        PacketsDroppedUndetected => "packets_dropped_undetected",
        /// Holes of the reorder window given up early because too many packets waited.
        WindowOverruns => "window_overruns",
        /// RTP sources that started over with the same SSRC.
        SourceRestarts => "source_restarts",
        /// Changes of SSRC within a session.
        SsrcChanges => "ssrc_changes",
        /// Changes of the sender's address after silence.
        Relatches => "relatches",
        /// Restarts of a sender's RTP clock.
        ClockJumps => "clock_jumps",
        /// RTCP compounds received.
        RtcpReceived => "rtcp_received",
        /// RTCP compounds that did not parse or came from elsewhere.
        RtcpInvalid => "rtcp_invalid",
        /// Sender reports used.
        SenderReports => "sender_reports",
        /// Sender reports not used: their clock went back.
        SenderReportsRefused => "sender_reports_refused",
        /// Goodbyes (RTCP) after which their source went on.
        GoodbyesVoid => "goodbyes_void",
        /// RTCP compounds sent.
        RtcpSent => "rtcp_sent",
        /// Packets asked for again (NACK).
        NacksSent => "nacks_sent",
        /// Key pictures asked for (PLI, FIR).
        KeyRequestsSent => "key_requests_sent",
        /// Packets of forward error correction received.
        FecReceived => "fec_received",
        /// Of these: malformed, or of no use.
        FecInvalid => "fec_invalid",
        /// RTP payloads, or elements in them, that do not parse or are not supported.
        PayloadsInvalid => "payloads_invalid",
        /// RTP fragments whose first one did not come or says otherwise, and elements that broke off.
        FragmentsInvalid => "fragments_invalid",
        /// RTP access units and their elements cut at the most bytes, elements or fragments.
        UnitsCut => "units_cut",
        /// Gauge: interarrival jitter of RTP (RFC 3550, A.8), microseconds; the most of all tracks.
        JitterUs => "jitter_us",
        /// Packets received on the first leg.
        Leg1Received => "leg1_received",
        /// Gauge: packets missing on the first leg, whatever the other brought.
        Leg1Lost => "leg1_lost",
        /// Packets received on the second leg.
        Leg2Received => "leg2_received",
        /// Gauge: packets missing on the second leg, whatever the other brought.
        Leg2Lost => "leg2_lost",
        /// Gauge: how much later the second copy of the last packet came, microseconds.
        LegSkewUs => "leg_skew_us",
        /// Gauge: the most of that since the session began, microseconds.
        LegSkewMaxUs => "leg_skew_max_us",

        /// Transport-stream packets parsed.
        TsPackets => "ts_packets",
        /// Times the sync byte was lost.
        TsSyncLosses => "ts_sync_losses",
        /// Bytes skipped while hunting for sync.
        TsBytesSkipped => "ts_bytes_skipped",
        /// Continuity-counter gaps.
        TsContinuityErrors => "ts_continuity_errors",
        /// Duplicate packets as the standard allows.
        TsDuplicates => "ts_duplicates",
        /// Packets with the transport error indicator.
        TsTransportErrors => "ts_transport_errors",
        /// Packets with scrambled payload.
        TsScrambled => "ts_scrambled",
        /// Malformed packets (adaptation field, reserved control).
        TsInvalid => "ts_invalid",
        /// Sections with a bad CRC.
        PsiCrcErrors => "psi_crc_errors",
        /// Malformed sections.
        PsiInvalid => "psi_invalid",
        /// Program changes followed (new PMT version, program moved).
        PsiChanges => "psi_changes",
        /// Programs beyond the bound on how many are listed.
        PsiProgramsUnlisted => "psi_programs_unlisted",
        /// Elementary streams beyond the bound on how many are listed.
        PsiTracksUnlisted => "psi_tracks_unlisted",
        /// PES packets started.
        PesPackets => "pes_packets",
        /// Malformed PES headers.
        PesInvalid => "pes_invalid",
        /// Jumps of the timeline (a new segment).
        TimelineJumps => "timeline_jumps",

        /// Frames published.
        FramesPublished => "frames_published",
        /// Published frames that miss bytes.
        FramesDamaged => "frames_damaged",
        /// Published key frames of video.
        FramesKey => "frames_key",
        /// Published I frames, IDR included.
        FramesI => "frames_i",
        /// Published P frames.
        FramesP => "frames_p",
        /// Published B frames.
        FramesB => "frames_b",
        /// Published audio frames.
        FramesAudio => "frames_audio",
        /// Published data frames.
        FramesData => "frames_data",
        /// Bytes of published frames.
        FrameBytes => "frame_bytes",
        /// Frames dropped: before the first key frame.
        FramesDroppedBeforeKey => "frames_dropped_before_key",
        /// Frames dropped: larger than `frame.max_frame_size`.
        FramesDroppedOversize => "frames_dropped_oversize",
        /// Frames dropped: header or structure that cannot be framed.
        FramesDroppedInvalid => "frames_dropped_invalid",
        /// Frames dropped: too many frames wait for their delivery time.
        FramesDroppedPending => "frames_dropped_pending",
        /// Frames dropped: a fault of the session ended it while they were open.
        FramesDroppedAborted => "frames_dropped_aborted",
        /// Frames dropped: the stream is above its bandwidth.
        FramesDroppedBandwidth => "frames_dropped_bandwidth",
        /// Frames dropped: they miss bytes, and such are not kept.
        FramesDroppedDamaged => "frames_dropped_damaged",
        /// Elementary-stream bytes skipped before a frame start.
        BytesSkipped => "bytes_skipped",
        /// Groups of pictures closed.
        GopsClosed => "gops_closed",
        /// Groups of pictures evicted by count, bytes or age.
        GopsEvicted => "gops_evicted",
        /// Of the evicted groups, those an operator gave up.
        GopsDropped => "gops_dropped",
        /// Frames evicted from a group still open because it outgrew the ring.
        GopOverflowFrames => "gop_overflow_frames",
        /// Gauge: bytes of the ring in use.
        RingUsedBytes => "ring_used_bytes",
        /// Gauge: bytes of the ring.
        RingCapacityBytes => "ring_capacity_bytes",
        /// Gauge: frames in the ring.
        RingFrames => "ring_frames",
        /// Gauge: groups of pictures in the ring, the open one included.
        RingGops => "ring_gops",
        /// Gauge: measured video frame rate, millihertz (field pairs count once).
        FrameRateMhz => "frame_rate_mhz",
        /// Gauge: delivered media rate over the last second, bits per second.
        BitrateBps => "bitrate_bps",
        /// Gauge: frames of the last closed group of pictures.
        GopFrames => "gop_frames",
        /// Gauge: duration of the last closed group of pictures, microseconds.
        GopDurationUs => "gop_duration_us",
    }
}

counters! {
    /// Counters of one worker.
    WorkerCounter {
        /// Gauge: `CLOCK_MONOTONIC` nanoseconds of the last duty cycle.
        HeartbeatNs => "heartbeat_ns",
        /// Duty cycles.
        Cycles => "cycles",
        /// Entries into the kernel (`io_uring_enter`).
        Enters => "enters",
        /// Longest duty cycle without its wait, nanoseconds.
        CycleMaxNs => "cycle_max_ns",
        /// Datagrams received.
        DatagramsReceived => "datagrams_received",
        /// Their UDP payload bytes.
        BytesReceived => "bytes_received",
        /// Datagrams handed to a session.
        DatagramsToSessions => "datagrams_to_sessions",
        /// Handshake datagrams for the listener.
        DatagramsToListener => "datagrams_to_listener",
        /// Datagrams dropped: too short for a header.
        DroppedShort => "datagrams_dropped_short",
        /// Datagrams dropped: empty.
        DroppedEmpty => "datagrams_dropped_empty",
        /// Datagrams dropped: larger than a slot.
        DroppedTruncated => "datagrams_dropped_truncated",
        /// Datagrams dropped: no session has that socket id.
        DroppedUnknownSession => "datagrams_dropped_unknown_session",
        /// Datagrams dropped: right socket id, wrong source address.
        DroppedWrongSource => "datagrams_dropped_wrong_source",
        /// Handshake datagrams dropped: malformed.
        DroppedInvalid => "datagrams_dropped_invalid",
        /// Datagrams dropped at ports of RTP: neither RTP nor RTCP, or malformed.
        DroppedInvalidRtp => "rtp_datagrams_dropped_invalid",
        /// RTCP dropped: no session has its sender.
        DroppedUnknownRtcp => "rtcp_dropped_unknown",
        /// RTP packets dropped at the shared port: their source did not prove itself.
        DroppedUnproven => "rtp_packets_dropped_unproven",
        /// RTP packets dropped at the shared port: their sender waits for its admission, and there
        /// is no room for more.
        DroppedWaiting => "rtp_packets_dropped_waiting",
        /// RTP packets dropped at the shared port: their sender was refused.
        DroppedRefused => "rtp_packets_dropped_refused",
        /// Senders that proved themselves at the shared RTP port.
        SendersProven => "rtp_senders_proven",
        /// Gauge: RTP packets that wait for their sender's proof or admission.
        PacketsWaiting => "rtp_packets_waiting",
        /// Datagrams that belong to another worker and were handed over.
        HandedOver => "datagrams_handed_over",
        /// Datagrams dropped: the hand-over ring was full.
        DroppedHandover => "datagrams_dropped_handover",
        /// Datagrams taken over from another worker.
        TakenOver => "datagrams_taken_over",
        /// Gauge: datagrams the kernel dropped at this worker's sockets.
        KernelDrops => "kernel_drops",
        /// Multishot receives re-armed: an empty datagram ended them.
        RearmsEmpty => "rearms_empty",
        /// Multishot receives re-armed: the buffer ring ran dry. Must stay 0.
        RearmsNoBuffers => "rearms_no_buffers",
        /// Multishot receives re-armed: any other cause. Must stay 0.
        RearmsOther => "rearms_other",
        /// Datagrams sent.
        DatagramsSent => "datagrams_sent",
        /// Sends refused by the kernel.
        SendErrors => "send_errors",
        /// Sends dropped: the send slab was full.
        SendsDropped => "sends_dropped",
        /// Induction requests answered.
        Inductions => "inductions",
        /// Conclusion requests with a valid cookie.
        Conclusions => "conclusions",
        /// Conclusion requests with a bad cookie.
        CookiesBad => "cookies_bad",
        /// Handshakes refused with a reject code.
        Rejections => "rejections",
        /// Of these, refused while the conductor was behind: it neither counts nor tells them.
        RejectionsUntold => "rejections_untold",
        /// Conclusion requests ignored while the conductor was behind: their callers repeat them.
        ConclusionsPutOff => "conclusions_put_off",
        /// Conclusion requests repeated before the first one was decided: its answer is theirs too.
        ConclusionsUndecided => "conclusions_undecided",
        /// Stored answers repeated for repeated conclusions.
        AnswersRepeated => "answers_repeated",
        /// Gauge: sessions open.
        Sessions => "sessions",
        /// Sessions ended by a caught panic. Must stay 0.
        SessionsPanicked => "sessions_panicked",
        /// Gauge: free slots.
        SlotsFree => "slots_free",
        /// Buffer ids that had no slot when they were due for refill.
        SlotsStarved => "slots_starved",
    }
}

counters! {
    /// Counters of the conductor.
    ConductorCounter {
        /// Gauge: `CLOCK_MONOTONIC` nanoseconds of its last turn.
        HeartbeatNs => "heartbeat_ns",
        /// Connections accepted.
        Accepted => "accepted",
        /// Connections refused: the connection limit.
        RejectedLimit => "rejected_limit",
        /// Connections refused: the id has a live publisher.
        RejectedConflict => "rejected_conflict",
        /// Connections refused: another host took the id over from this one a short while ago.
        RejectedHeldOff => "rejected_held_off",
        /// Connections refused: the id is kept out after a termination.
        RejectedBlocked => "rejected_blocked",
        /// Connections refused: the source address is not allowed.
        RejectedSource => "rejected_source",
        /// Connections refused: the publish key is missing or wrong.
        RejectedKey => "rejected_key",
        /// Connections refused: the passphrase is wrong, missing or unexpected.
        RejectedPassphrase => "rejected_passphrase",
        /// Connections refused: the stream key is not as long as configured.
        RejectedKeyLength => "rejected_key_length",
        /// Connections refused: no rule names the id.
        RejectedUnlisted => "rejected_unlisted",
        /// Connections refused: a longer latency is asked for than allowed.
        RejectedLatency => "rejected_latency",
        /// Connections refused: the handshake asks for what is not served.
        RejectedHandshake => "rejected_handshake",
        /// Connections refused: by the authorization service.
        RejectedDenied => "rejected_denied",
        /// Connections refused: the authorization service could not decide.
        RejectedUndecided => "rejected_undecided",
        /// Publishers let on although the authorization service could not decide.
        AllowedUndecided => "allowed_undecided",
        /// Events that nobody was there to hear.
        EventsLost => "events_lost",
        /// Events of refused connections left out because there were too many.
        EventsSuppressed => "events_suppressed",
        /// Connections refused: the id is malformed.
        RejectedId => "rejected_id",
        /// Connections refused: latency and bandwidth do not fit the free slots.
        RejectedSlots => "rejected_slots",
        /// Key changes of publishers that were unwrapped.
        KeysRenewed => "keys_renewed",
        /// Key changes of publishers that did not unwrap.
        KeysRefused => "keys_refused",
        /// Streams that came back within their grace period.
        Reconnects => "reconnects",
        /// Streams ended by the peer's shutdown.
        EndedShutdown => "ended_shutdown",
        /// Streams ended because the peer fell silent.
        EndedIdle => "ended_idle",
        /// Streams ended by an operator.
        EndedTerminated => "ended_terminated",
        /// Streams ended because their publisher came back on a new connection.
        EndedReplaced => "ended_replaced",
        /// Streams ended because another publisher took the id over.
        EndedTakenOver => "ended_taken_over",
        /// RTP streams of no use ended because a sender of another host needed their place.
        EndedDisplaced => "ended_displaced",
        /// Streams ended because they were above their bandwidth.
        EndedOverBandwidth => "ended_over_bandwidth",
        /// Streams ended because the peer broke the protocol.
        EndedProtocol => "ended_protocol",
        /// Streams ended by a fault of ours.
        EndedPanicked => "ended_panicked",
    }
}
