//! What of a session can be changed while it runs.

use std::time::Duration;

use memory::Time;

use super::limit::RateLimit;
use super::{Session, SessionConfig};
use crate::reorder::Window;

/// Terms that act at once, on what waits already too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long missing packets are waited for.
    pub window: Window,
    /// The session ends after so long without RTP and RTCP.
    pub timeout: Duration,
    /// Another address may take a track over after so long a silence.
    pub relatch_after: Duration,
    /// Most bits a second, `None` for any.
    pub rate_limit_bps: Option<u64>,
}

impl SessionConfig {
    /// Those of its values that can change.
    pub const fn terms(&self) -> Terms {
        Terms {
            window: self.window,
            timeout: self.timeout,
            relatch_after: self.relatch_after,
            rate_limit_bps: self.rate_limit_bps,
        }
    }

    /// The same with other terms.
    #[must_use]
    pub const fn with_terms(self, terms: &Terms) -> Self {
        Self {
            window: terms.window,
            timeout: terms.timeout,
            relatch_after: terms.relatch_after,
            rate_limit_bps: terms.rate_limit_bps,
            ..self
        }
    }
}

impl Session {
    /// Goes by other terms from now on.
    pub fn set_terms(&mut self, terms: &Terms, now: Time) {
        if self.config.rate_limit_bps != terms.rate_limit_bps {
            self.limit = RateLimit::new(terms.rate_limit_bps, now);
        }
        self.config = self.config.with_terms(terms);
        for track in &mut self.tracks {
            track.set_window(terms.window);
        }
    }
}
