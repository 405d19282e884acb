//! An authorization service as an operator writes one: HTTP on loopback, one thread.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// What the service does with a question.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Answers with this status and body.
    Say(u16, String),
    /// Never answers.
    Hold,
}

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The JSON of the request.
    pub body: Value,
    /// The header `authorization`.
    pub authorization: Option<String>,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts a service that decides by this rule.
    pub fn start(rule: impl Fn(&Value) -> Answer + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            // Held connections stay open to the end.
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let Ok(question) = read(&stream) else { continue };
                let answer = rule(&question.body);
                log.lock().unwrap_or_else(PoisonError::into_inner).push(question);
                match answer {
                    Answer::Say(status, body) => drop(write(&mut stream, status, &body)),
                    Answer::Hold => held.push(stream),
                }
            }
        });
        Ok(Self { address, asked, stop, thread: Some(thread) })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/publish", self.address)
    }

    /// The questions so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

fn read(stream: &TcpStream) -> Result<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().context("a length")?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked { body: serde_json::from_slice(&body)?, authorization })
}

fn write(stream: &mut TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    stream.write_all(format!("{head}\r\n{body}").as_bytes())
}
