//! Which streams of a worker yield first when its packet slots are short: those of the lowest
//! priority among them. It is the order that counts, not the figures.

/// The priorities that the open sessions of a worker have.
#[derive(Debug)]
pub(crate) struct Precedence {
    /// Sessions by priority.
    sessions: [u16; 256],
    /// By priority, how many lower ones there are.
    ranks: [u8; 256],
}

impl Precedence {
    pub(crate) const fn new() -> Self {
        Self { sessions: [0; 256], ranks: [0; 256] }
    }

    /// A session has another priority now; `None` before it opens and after its end.
    pub(crate) fn change(&mut self, before: Option<u8>, after: Option<u8>) {
        if before == after {
            return;
        }
        for (priority, by) in [(before, -1), (after, 1)] {
            if let Some(priority) = priority {
                let sessions = &mut self.sessions[usize::from(priority)];
                *sessions = sessions.saturating_add_signed(by);
            }
        }
        let mut rank = 0_u8;
        for (sessions, place) in self.sessions.iter().zip(&mut self.ranks) {
            *place = rank;
            rank = rank.saturating_add(u8::from(*sessions > 0));
        }
    }

    /// How many lower priorities there are among the sessions: those of rank 0 yield first.
    pub(crate) fn rank(&self, priority: u8) -> u8 {
        self.ranks[usize::from(priority)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_yield_together_and_each_lower_priority_that_is_there_is_a_rank() {
        let mut precedence = Precedence::new();
        for priority in [7, 7, 200, 255] {
            precedence.change(None, Some(priority));
        }
        let ranks = |it: &Precedence| [7, 200, 255].map(|priority| it.rank(priority));
        assert_eq!(ranks(&precedence), [0, 1, 2]);
        precedence.change(Some(7), None);
        assert_eq!(ranks(&precedence), [0, 1, 2], "one of the two is left");
        precedence.change(Some(7), None);
        assert_eq!(ranks(&precedence)[1..], [0, 1], "now these yield first");
        precedence.change(Some(200), Some(255));
        assert_eq!(precedence.rank(255), 0);
    }
}
