//! Makes the test vectors: `capture FILE PORTS SECONDS COMMAND…` runs a sender and writes the
//! datagrams that come on the UDP ports of loopback, in the order they come.
//!
//! A record is the port's index (1 byte), microseconds since the first (4), length (2), datagram.
#![forbid(unsafe_code)]

use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, file, ports, seconds, program, rest @ ..] = &arguments[..] else {
        eprintln!("capture FILE PORT[,PORT…] SECONDS COMMAND…");
        std::process::exit(2);
    };
    let mut sockets = Vec::new();
    for port in ports.split(',') {
        let socket = UdpSocket::bind(format!("127.0.0.1:{port}"))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let mut sender = Command::new(program).args(rest).stdin(Stdio::null()).spawn()?;
    let mut output = std::io::BufWriter::new(std::fs::File::create(file)?);
    let mut first = None;
    let end = Instant::now() + Duration::from_secs(seconds.parse().unwrap_or(10));
    let mut ended = None;
    let mut bytes = [0; 65_536];
    while Instant::now() < end && ended.is_none_or(|at: Instant| at.elapsed().as_millis() < 300) {
        let mut idle = true;
        for (index, socket) in (0u8..).zip(&sockets) {
            let Ok(len) = socket.recv(&mut bytes) else { continue };
            idle = false;
            let micros = first.get_or_insert_with(Instant::now).elapsed().as_micros();
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            output.write_all(&[index])?;
            output.write_all(&micros.to_be_bytes())?;
            output.write_all(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes())?;
            output.write_all(&bytes[..len])?;
        }
        if idle {
            std::thread::sleep(Duration::from_micros(200));
            if ended.is_none() && sender.try_wait()?.is_some() {
                ended = Some(Instant::now());
            }
        }
    }
    sender.kill().ok();
    sender.wait()?;
    output.flush()
}
