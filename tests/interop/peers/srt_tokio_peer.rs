//! Sends its standard input with srt-tokio, payload by payload, and says goodbye at its end.
//!
//! `srt-tokio-peer caller|listener ADDRESS PORT [NAME=VALUE]...` with the names of `libsrt_peer.c`.

#![forbid(unsafe_code)]

use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::SinkExt;
use srt_tokio::SrtSocket;
use srt_tokio::options::{ByteCount, KeyMaterialRefresh, PacketCount, SocketOptions};

/// Payload of a live packet: seven transport-stream packets.
const PAYLOAD_BYTES: usize = 1_316;
/// Seconds of a stream. By default it is 31 packets: the oldest is dropped, acknowledged or not, for
/// the next one that is to be sent, which on a busy machine comes before its retransmission.
const SEND_BUFFER: ByteCount = ByteCount(8 << 20);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [side, ip, port, options @ ..] = &words[..] else {
        bail!("usage: srt-tokio-peer caller|listener ADDRESS PORT [NAME=VALUE]...")
    };
    let address: SocketAddr = format!("{ip}:{port}").parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(send(side == "caller", address, options))
}

/// The value of an option that was given.
fn value<'a>(options: &'a [String], name: &str) -> Option<&'a str> {
    options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
}

fn number<T: std::str::FromStr<Err: Into<anyhow::Error>>>(
    options: &[String],
    name: &str,
) -> Result<Option<T>> {
    value(options, name).map(|text| text.parse().map_err(Into::into)).transpose()
}

fn configure(socket: &mut SocketOptions, options: &[String]) -> Result<()> {
    if let Some(latency) = number(options, "latency")?.map(Duration::from_millis) {
        socket.sender.peer_latency = latency;
        socket.receiver.latency = latency;
    }
    if let Some(timeout) = number(options, "connect_timeout")?.map(Duration::from_millis) {
        socket.connect.timeout = timeout;
    }
    if let Some(passphrase) = value(options, "passphrase") {
        let bytes: u16 = number(options, "pbkeylen")?.unwrap_or(16);
        socket.encryption.key_size = bytes.try_into().ok().context("pbkeylen")?;
        let passphrase = passphrase.to_owned().try_into();
        socket.encryption.passphrase = Some(passphrase.ok().context("passphrase")?);
    }
    if let Some(period) = number(options, "km_refresh")? {
        let announced = number(options, "km_preannounce")?.unwrap_or(period / 4);
        socket.encryption.km_refresh = KeyMaterialRefresh {
            period: PacketCount(period),
            pre_announcement_period: PacketCount(announced),
        };
    }
    Ok(())
}

async fn send(calls: bool, address: SocketAddr, options: &[String]) -> Result<()> {
    let mut settings = SocketOptions::default();
    settings.sender.buffer_size = SEND_BUFFER;
    configure(&mut settings, options)?;
    let builder = SrtSocket::builder().set(|socket| *socket = settings);
    let mut socket = if calls {
        builder.call(address, value(options, "streamid")).await?
    } else {
        builder.listen_on(address).await?
    };
    eprintln!("connected");
    let (sender, mut payloads) = tokio::sync::mpsc::channel(64);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
            let read = input.by_ref().take(PAYLOAD_BYTES as u64).read_to_end(&mut payload);
            if read.is_err() || payload.is_empty() || sender.blocking_send(payload).is_err() {
                return;
            }
        }
    });
    while let Some(payload) = payloads.recv().await {
        socket.send((Instant::now(), payload.into())).await?;
    }
    socket.close_and_finish().await?;
    Ok(())
}
