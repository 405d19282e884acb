//! The log: one writer thread behind a bounded queue, so that a full disk or an unread pipe
//! delays nobody. Lines that do not fit are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::Error;
use crate::config::{LogFormat, LogOutput, Logging};

/// Lines that may wait for the writer; at 200 bytes a line some 200 kB.
const LINES_WAITING_MAX: usize = 1024;

/// The running log.
#[derive(Debug)]
pub struct Log(Queue);

impl Log {
    /// Waits until what was logged so far is written, at most `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, written) = sync_channel(1);
        if self.0.messages.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }
}

/// Starts the log for the whole process. A second call leaves the first in force.
pub fn start(logging: &Logging) -> Result<Log, Error> {
    let queue = Queue::start(open(&logging.output)?)?;
    let log = Log(queue.clone());
    let builder = tracing_subscriber::fmt()
        .with_max_level(logging.level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(queue);
    // The only failure is a subscriber that is set already, as in tests.
    let _ = match logging.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    Ok(log)
}

fn open(output: &LogOutput) -> Result<Box<dyn Write + Send>, Error> {
    Ok(match output {
        LogOutput::Stdout => Box::new(io::stdout()),
        LogOutput::Stderr => Box::new(io::stderr()),
        LogOutput::File(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.map_err(|source| Error::File { path: path.clone(), source })?)
        }
    })
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

#[derive(Debug, Clone)]
struct Queue {
    messages: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(output: Box<dyn Write + Send>) -> Result<Self, Error> {
        let (messages, waiting) = sync_channel(LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(output, &waiting, &lost))
            .map_err(|source| Error::System { what: "cannot start the log thread", source })?;
        Ok(Self { messages, dropped })
    }
}

fn write_lines(mut output: Box<dyn Write + Send>, waiting: &Receiver<Message>, lost: &AtomicU64) {
    while let Ok(message) = waiting.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ =
                writeln!(output, "{missing} log lines were dropped here: the output was not read");
        }
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One event's text; it goes to the queue whole.
struct Line {
    queue: Queue,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = Message::Line(std::mem::take(&mut self.text));
        if self.queue.messages.try_send(line).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { queue: self.clone(), text: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An output that blocks until it is let go.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_drops_and_counts_lines_and_delays_nobody() {
        let pipe = Pipe::default();
        let blocked = pipe.0.lock().unwrap();
        let queue = Queue::start(Box::new(pipe.clone())).unwrap();
        for _ in 0..LINES_WAITING_MAX * 2 {
            queue.make_writer().write_all(b"line\n").unwrap();
        }
        drop(blocked);
        let (done, written) = sync_channel(1);
        queue.messages.send(Message::Flush(done)).unwrap();
        written.recv().unwrap();
        let text = String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("log lines were dropped here"));
        assert!(text.matches("line\n").count() <= LINES_WAITING_MAX + 1);
    }
}
