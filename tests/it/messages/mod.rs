//! Messages to the operator: the request, Slack's answers, the outbox over many runs, threads and parts.

mod cuts;
mod failures;
mod outbox;
mod parts;
mod recovery;
mod request;
mod slack_answers;
mod threads;
mod unwatched;
