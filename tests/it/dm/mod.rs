//! Section 7: the operator's DM and its delivery.

mod answers;
mod failures;
mod long_messages;
mod long_texts;
mod queue;
mod recovery;
mod text;
mod threads;
mod unwatched;
