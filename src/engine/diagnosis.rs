//! A text that is fit to be sent.

use serde_json::Value;
use unicode_width::UnicodeWidthChar;

use super::failure::Reason;

/// The engine's text: not empty, without white space or invisible characters at either end, and without what
/// the model thought before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub text: String,
    /// Set if the engine ended the text early, to what its API calls that: `length`, `max_tokens`.
    pub cut_short: Option<String>,
}

impl Diagnosis {
    /// Returns what can be sent of an engine's text; [`Reason::EmptyResponseText`] if nothing is left.
    pub fn new(text: &str) -> Result<Self, Reason> {
        let text = answer_in(text);
        let text = trim(&text);
        if !text.contains(is_visible) || is_tool_call(text) {
            return Err(Reason::EmptyResponseText);
        }
        Ok(Self {
            text: text.to_owned(),
            cut_short: None,
        })
    }
}

/// The marks around what a model thinks before it answers.
const THOUGHTS: [(&str, &str); 3] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
];

/// The marks around a tool call; some formats have none at the end.
const TOOL_CALLS: [(&str, &str); 6] = [
    ("<tool_call>", "</tool_call>"),
    ("<function_calls>", "</function_calls>"),
    ("<function=", "</function>"),
    ("[TOOL_CALLS]", "\n\n"),
    ("<|tool_call|>", "<|/tool_call|>"),
    ("<|python_tag|>", "<|eom_id|>"),
];

/// Removes what some servers send along with the answer: one leading block of thoughts, everything up to the
/// unpaired end of one, and tool calls. What begins a line and is not closed goes on to the end of the text;
/// within a line, such a mark is only mentioned by the answer.
fn answer_in(text: &str) -> String {
    let mut text = trim(final_channel(text));
    if let Some((open, close)) = THOUGHTS.iter().find(|(open, _)| text.starts_with(open)) {
        let answer = text[open.len()..].split_once(close);
        text = answer.map_or("", |(_, answer)| answer);
    }
    for (open, close) in THOUGHTS {
        let is_end = |thoughts: &str, answer: &str| {
            close != "</thinking>" || begins_line(thoughts) || ends_line(answer)
        };
        let ends = text.match_indices(close);
        let ends = ends.map(|(at, _)| (&text[..at], &text[at + close.len()..]));
        let ends = ends.take_while(|(thoughts, _)| !thoughts.contains(open));
        // Thoughts may also mention the mark before they end with it.
        let ends = ends.filter(|(thoughts, answer)| is_end(thoughts, answer));
        text = ends.last().map_or(text, |(_, answer)| answer);
    }
    let mut text = text.to_owned();
    for (open, close) in TOOL_CALLS {
        let mut from = 0;
        while let Some(at) = text[from..].find(open) {
            let start = from + at;
            let end = text[start..].find(close).map(|at| start + at + close.len());
            let is_ended = end.is_some() && close != "\n\n";
            from = start;
            if is_ended || begins_line(&text[..start]) {
                text.replace_range(start..end.unwrap_or(text.len()), "");
            } else {
                from += open.len();
            }
        }
    }
    text
}

fn begins_line(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with('\n')
}

fn ends_line(after: &str) -> bool {
    let after = after.trim_start_matches([' ', '\t', '\r']);
    after.is_empty() || after.starts_with('\n')
}

/// Returns the last `final` channel of a text in gpt-oss's format, or nothing if there are only other
/// channels. Returns a text in another format as it is.
fn final_channel(text: &str) -> &str {
    let begins = |mark: &str| trim(text).starts_with(mark);
    let is_of_the_format = begins("<|channel|>") || begins("<|start|>");
    if !is_of_the_format && !text.contains("<|start|>assistant<|channel|>") {
        return text;
    }
    let last = text.rsplit_once("<|channel|>final");
    let answer = last.and_then(|(_, last)| last.split_once("<|message|>"));
    let answer = answer.map_or("", |(_, answer)| answer);
    let ends = ["<|return|>", "<|end|>", "<|start|>", "<|call|>"];
    let end = ends.iter().filter_map(|mark| answer.find(mark)).min();
    &answer[..end.unwrap_or(answer.len())]
}

/// Returns whether the text is nothing but tool calls in JSON, fenced or not.
fn is_tool_call(text: &str) -> bool {
    let inner = text.trim_matches('`').trim_start_matches("json");
    let value: Value = serde_json::from_str(inner).unwrap_or_default();
    let calls = value.as_array().map(Vec::as_slice);
    let calls = calls.unwrap_or(std::slice::from_ref(&value));
    let is_call = |call: &Value| {
        let has = |names: &[&str]| names.iter().any(|name| call.get(name).is_some());
        let is_named = has(&["name", "function", "tool"]);
        has(&["tool_calls"])
            || call["function"].is_object()
            || is_named && has(&["arguments", "parameters", "args"])
    };
    !calls.is_empty() && calls.iter().all(is_call)
}

/// Returns whether a reader can see the character.
pub(super) fn is_visible(c: char) -> bool {
    let has_width = UnicodeWidthChar::width(c).is_some_and(|width| width > 0);
    let is_blank = matches!(
        c,
        '\u{ad}' | '\u{2800}' | '\u{3164}' | '\u{115f}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
    );
    has_width && !c.is_whitespace() && !c.is_control() && !is_blank
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
            ("hm, so</think>Down.", Some("Down.")),
            ("hm</think> hm</think>\nDown.", Some("Down.")),
            ("<think>a</think>b</think>Down.", Some("Down.")),
            ("hm</think>", None),
            ("<thinking>hm</thinking>Down.", Some("Down.")),
            ("[THINK]hm[/THINK]Down.", Some("Down.")),
            ("hm[/THINK]Down.", Some("Down.")),
            ("[THINK]hm", None),
            ("hm\n</thinking>\nDown.", Some("Down.")),
            ("hm, so</thinking> \r\nDown.", Some("Down.")),
            (
                "I end with </thinking> then.\nhm\n</thinking>\nDown.",
                Some("Down."),
            ),
            (
                "It sent </thinking> tags.",
                Some("It sent </thinking> tags."),
            ),
            (
                "It sent <|channel|>analysis marks.",
                Some("It sent <|channel|>analysis marks."),
            ),
            (
                "hm<|end|><|start|>assistant<|channel|>final<|message|>Down.",
                Some("Down."),
            ),
            ("<|start|>assistant<|channel|>analysis<|message|>hm", None),
            (
                "Down because <tool_call> events stopped.\nNext: check.",
                Some("Down because <tool_call> events stopped.\nNext: check."),
            ),
            (
                "No [TOOL_CALLS] came.\n\nNext: look at <function=look>.",
                Some("No [TOOL_CALLS] came.\n\nNext: look at <function=look>."),
            ),
            (
                "Down.\n [TOOL_CALLS][{}]\n\nNext: look.",
                Some("Down.\n Next: look."),
            ),
            ("Down <tool_call>{}</tool_call>now.", Some("Down now.")),
            (
                "No <tool_call> came.\n<tool_call>{}",
                Some("No <tool_call> came."),
            ),
            (
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Down.<|return|>",
                Some("Down."),
            ),
            (
                "<|channel|>final <|constrain|>JSON<|message|>Down.",
                Some("Down."),
            ),
            ("<|channel|>analysis<|message|>hm", None),
            (
                "<|channel|>commentary to=functions.x<|message|>{}<|call|>",
                None,
            ),
            ("<tool_call>{\"name\":\"x\"}</tool_call>", None),
            ("<tool_call>{\"name\":\"x\"}", None),
            ("Down.\n<tool_call>{}</tool_call>", Some("Down.")),
            ("<function=look>{}</function>", None),
            ("[TOOL_CALLS][{\"name\":\"x\",\"arguments\":{}}]", None),
            ("{\"name\":\"x\",\"arguments\":{}}", None),
            ("[{\"name\":\"x\",\"parameters\":{}}]", None),
            ("```json\n{\"name\":\"x\",\"arguments\":{}}\n```", None),
            ("{\"tool_calls\":[]}", None),
            (
                "{\"type\":\"function\",\"function\":{\"name\":\"x\"}}",
                None,
            ),
            ("{\"name\":\"fly\"}", Some("{\"name\":\"fly\"}")),
            ("\u{200b}\u{200d}\u{2060}\u{ad}\u{e0041}\u{180e}", None),
            (
                "\u{202e} \u{2066}\u{61c}\u{fe0f}\u{3164}\u{2800}\u{34f}",
                None,
            ),
            ("\u{2061}\u{2064}\u{206f}\u{fff9}\u{1d173}", None),
            ("⚠️ Down. ❤️", Some("⚠️ Down. ❤️")),
            ("。", Some("。")),
        ] {
            let result = Diagnosis::new(text);
            let result = result.as_ref().map(|one| one.text.as_str());
            assert_eq!(result, left.ok_or(&Reason::EmptyResponseText), "{text:?}");
        }
    }
}
