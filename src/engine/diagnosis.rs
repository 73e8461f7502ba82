//! A text that is fit to be sent.

use super::failure::Reason;

/// The engine's text: not empty, without white space and invisible characters at its ends, without
/// what the model thought before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    text: String,
    cut_short: Option<String>,
}

impl Diagnosis {
    /// The reason is [`Reason::EmptyResponseText`], where nothing is left to be sent.
    pub fn new(text: &str) -> Result<Self, Reason> {
        match without_thinking(trim(text)) {
            "" => Err(Reason::EmptyResponseText),
            text => Ok(Self {
                text: text.to_owned(),
                cut_short: None,
            }),
        }
    }

    /// Notes that the engine ended the text early, and what its API calls that.
    pub fn cut_short_by(self, limit: Option<&str>) -> Self {
        Self {
            cut_short: limit.map(str::to_owned),
            ..self
        }
    }

    pub fn masked_by(self, mask: impl Fn(String) -> String) -> Self {
        Self {
            text: mask(self.text),
            ..self
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Set where the engine ended the text early, as its API calls that: `length`, `max_tokens`.
    pub fn cut_short(&self) -> Option<&str> {
        self.cut_short.as_deref()
    }
}

/// Leaves out one leading block of thinking, which some servers send with the answer. What follows
/// an opening tag that is never closed is all thinking.
fn without_thinking(text: &str) -> &str {
    let Some(thinking) = text.strip_prefix("<think>") else {
        return text;
    };
    let answer = thinking.split_once("</think>");
    answer.map_or("", |(_, text)| trim(text))
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_trimmed_and_its_leading_thinking_left_out() {
        for (text, left) in [
            (" It is down.\n", Some("It is down.")),
            (" \n\u{0}\u{feff}", None),
            ("<think>hm</think>\n\nDown.", Some("Down.")),
            ("\n<think></think>Down.", Some("Down.")),
            ("<think>hm <think>hm</think>Down.", Some("Down.")),
            ("<think>hm</think> \n", None),
            ("<think>hm, and then", None),
            ("Down. <think>hm</think>", Some("Down. <think>hm</think>")),
            (
                "<think>a</think><think>b</think>c",
                Some("<think>b</think>c"),
            ),
        ] {
            let result = Diagnosis::new(text);
            let result = result.as_ref().map(Diagnosis::text);
            assert_eq!(result, left.ok_or(&Reason::EmptyResponseText), "{text:?}");
        }
    }
}
