//! A finding of `check` or `status`: something that is fine, or what is wrong and what to do about
//! it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    /// It would keep an alert from arriving.
    Failed,
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub level: Level,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

impl Finding {
    pub fn is_ok(&self) -> bool {
        self.level == Level::Ok
    }

    pub fn with_next_step(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = Some(next_step.into());
        self
    }
}

pub fn ok(message: impl Into<String>) -> Finding {
    Finding {
        level: Level::Ok,
        message: message.into(),
        next_step: None,
    }
}

pub fn warning(message: impl Into<String>, next_step: impl Into<String>) -> Finding {
    Finding {
        level: Level::Warning,
        ..ok(message).with_next_step(next_step)
    }
}

pub fn failed(message: impl Into<String>, next_step: impl Into<String>) -> Finding {
    Finding {
        level: Level::Failed,
        ..ok(message).with_next_step(next_step)
    }
}
