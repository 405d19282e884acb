//! Patterns over stream ids: `*` stands for any text, `/` included, `?` for one character.

/// A pattern. Matching takes at most pattern times text steps, whatever a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Every text is a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where to go on when the text after the last star does not match.
        let mut star = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(b'?') => (p, t) = (p + 1, t + 1),
                Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let table = [
            ("live/*", "live/a", true),
            ("live/*", "live/a/b", true),
            ("live/*", "live/", true),
            ("live/*", "live", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("cam?", "cam1", true),
            ("cam?", "cam", false),
            ("cam?", "cam12", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("a", "a", true),
            ("a", "b", false),
        ];
        for (pattern, text, matches) in table {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_text_takes_bounded_time() {
        let pattern = Pattern::new(&"*a".repeat(250));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(511))));
    }
}
