//! A long message goes out part by part, and neither a kill nor a blank stretch loses or repeats any of it.

use std::time::Duration;

use crate::support::{Engine, Post, Reply, Slack, World, at_once, is_marked, unmarked, wake};

const LIMIT: usize = 3_900;

/// Numbered words, so that each is known: w0000 w0001 ...
fn words(count: usize) -> String {
    (0..count).map(|n| format!("w{n:04} ")).collect()
}

/// A world in which the engine says this about one wake.
fn says(text: &str) -> World {
    let world = World::stamped();
    world.engine.script([Engine::answer(text)]);
    world.append([wake("fly")]);
    world
}

/// How often this word was sent, marked and unmarked.
fn times_sent(texts: &[String], word: &str) -> (usize, usize) {
    let with: Vec<_> = texts.iter().filter(|text| text.contains(word)).collect();
    let marked = with.iter().filter(|text| is_marked(text)).count();
    (marked, with.len() - marked)
}

/// Parts fit, and each word is sent once, or once more with the mark. Returns how many were repeated.
#[track_caller]
fn assert_whole(texts: &[String], count: usize) -> usize {
    for text in texts {
        assert!(text.chars().count() <= LIMIT, "{}", text.chars().count());
        assert!(!text.trim().is_empty(), "a blank part");
    }
    let mut repeated = 0;
    for n in 0..count {
        let (marked, unmarked) = times_sent(texts, &format!("w{n:04} "));
        assert!(
            (1..=2).contains(&(marked + unmarked)),
            "word {n}: {marked}, {unmarked}"
        );
        assert!(unmarked <= 1, "word {n} was sent twice without a mark");
        repeated += marked + unmarked - 1;
    }
    repeated
}

fn texts(posts: &[Post]) -> Vec<String> {
    posts.iter().map(|post| post.text.clone()).collect()
}

fn thread_of(post: &Post) -> Option<&str> {
    post.thread_ts.as_deref()
}

#[test]
fn a_message_that_a_run_made_goes_out_whole_although_its_time_is_over() {
    let world = World::stamped();
    world.set("KORA_PROBE_FACTS_AFTER_SECONDS", "never");
    let answer = Engine::answer(words(2_000).trim_end());
    world
        .engine
        .script([answer.after(Duration::from_millis(1_100))]);
    world.append([wake("fly")]);
    world.command("run --max-runtime 1").exits(0).silent();
    assert_eq!(assert_whole(&world.slack.texts(), 1_999), 0);
    assert_eq!(world.slack.thread("1.1").len(), 3);
}

#[test]
fn past_the_runs_time_each_message_begins_before_any_goes_on() {
    let world = World::stamped();
    world.engine.takes(Duration::from_millis(1_300));
    world.append(["fly", "sentry"].map(|probe| wake(probe).set("detail", words(1_500))));
    world.command("run --max-runtime 1").exits(0);
    let posts = world.slack.posts();
    let first_reply = posts.iter().position(|post| post.thread_ts.is_some());
    assert_eq!((posts.len(), first_reply), (7, Some(2)));
}

#[test]
fn a_run_whose_time_is_over_leaves_the_rest_of_an_earlier_message_to_the_next() {
    let world = World::stamped().without_engine();
    world.queue([wake("fly").set("detail", words(2_000).trim_end())]);
    let pause = Duration::from_millis(600);
    world
        .slack
        .usually(move |_, before| Slack::took(before).after(pause));
    world
        .command("run --max-runtime 1")
        .exits(3)
        .warns("the run's time was over");
    assert_eq!(world.slack.texts().len(), 2);
    world.slack.usually(|_, before| Slack::took(before));
    world.run().exits(0).silent();
    assert_eq!(
        assert_whole(&world.slack.texts(), 1_999),
        0,
        "no word twice"
    );
}

/// Kills the run while Slack has this part and has not answered.
#[track_caller]
fn kill_at_part(world: &World, part: usize) {
    world.slack.nth(part, Reply::Hang);
    let run = world.start("run");
    world.slack.wait_for(part);
    run.kill();
}

#[test]
fn a_run_killed_at_a_part_repeats_that_part_alone_and_marks_it() {
    at_once(1..=4, |part| {
        let world = says(words(2_000).trim_end());
        kill_at_part(&world, part);
        world.run().exits(0);
        let texts = world.slack.texts();
        let repeated = assert_whole(&texts, 1_999);
        let again = unmarked(&texts[part]);
        assert!(is_marked(&texts[part]), "part {part}");
        assert!(
            texts[part - 1].starts_with(again.trim_end()),
            "part {part} begins anew"
        );
        assert!(repeated <= LIMIT / 6, "{repeated} words twice");
        let posts = world.slack.posts();
        let thread = (part > 1).then_some("1.1");
        assert_eq!(thread_of(&posts[part]), thread);
        assert_eq!(world.engine.requests().len(), 1);
    });
}

#[test]
fn a_part_that_slack_answered_unclearly_is_sent_again_and_marked_and_the_others_are_not() {
    let world = says(words(2_000).trim_end());
    world.slack.nth(2, Reply::text(503, ""));
    world.run().exits(0);
    let texts = world.slack.texts();
    assert_whole(&texts, 1_999);
    assert!(!is_marked(&texts[0]) && !is_marked(&texts[1]) && is_marked(&texts[2]));
}

#[test]
fn each_part_has_one_more_try() {
    let world = says(words(2_000).trim_end());
    for failed in [1, 3, 5, 7] {
        world.slack.nth(failed, Reply::text(503, ""));
    }
    world.run().exits(0).silent();
    assert_eq!(world.outbox().len(), 0);
    let texts = world.slack.texts();
    assert!(texts.iter().all(|text| text.chars().count() <= LIMIT));
    for number in 0..1_999 {
        let (_, unmarked) = times_sent(&texts, &format!("w{number:04} "));
        assert!(unmarked <= 1, "word {number}");
    }
}

#[test]
fn parts_that_slack_took_are_not_sent_again_in_a_later_run() {
    let world = says(words(2_000).trim_end());
    for try_of_the_third in 3..=7 {
        world.slack.nth(try_of_the_third, Slack::rate_limit("0"));
    }
    world.run().exits(3);
    world.run().exits(0);
    let texts = world.slack.texts();
    assert!(texts.iter().all(|text| !is_marked(text)));
    assert_eq!(texts.len(), 9);
    assert_eq!(texts[2..7], vec![texts[7].clone(); 5]);
    assert_eq!(thread_of(&world.slack.posts()[8]), Some("1.1"));
}

#[test]
fn where_the_thread_is_gone_the_rest_goes_to_the_top_level() {
    for gone in ["thread_not_found", "cannot_reply_to_message"] {
        let world = says(words(1_500).trim_end());
        world.slack.nth(2, Slack::refusal(gone));
        world.run().exits(0).silent();
        let posts = world.slack.posts();
        let threads: Vec<_> = posts.iter().map(thread_of).collect();
        assert_eq!(threads, [None, Some("1.1"), None, Some("1.3")]);
        // One line longer, so that a little less fits.
        let again = posts[2].text.strip_prefix("fly (continued)\n").unwrap();
        assert!(posts[1].text.starts_with(again));
        assert_whole(&[&texts(&posts)[..1], &texts(&posts)[2..]].concat(), 1_499);
    }
}

#[test]
fn a_thread_answer_to_a_message_in_no_thread_is_a_refusal() {
    let world = World::stamped_with(Slack::always(|| Slack::refusal("thread_not_found")));
    world.append([wake("fly")]);
    world.run().exits(3).warns("thread_not_found");
    assert_eq!(world.slack.requests().len(), 1);
}

/// Slack as it is: what holds nothing to read is no message.
fn strict() -> Slack {
    Slack::judging(|text| (!text.trim().is_empty()).then_some(()).ok_or("no_text"))
}

#[test]
fn a_blank_stretch_poisons_nothing() {
    for blank in [" ", "\n", "\t \n", "\u{a0}"] {
        let blank = blank.repeat(20_000 / blank.chars().count());
        let world = World::stamped_with(strict());
        let middle = format!("{}{blank}{}", words(10), "the end");
        world.engine.script([Engine::answer(&middle)]);
        world.raise([wake("fly"), wake("sentry")]).exits(0).silent();
        let texts = world.slack.texts();
        assert_whole(&texts[..texts.len() - 1], 10);
        let is_end = |text: &String| text.contains("the end\n\nfly (critical): ");
        assert_eq!(texts.iter().filter(|text| is_end(text)).count(), 1);
        assert!(texts.len() < 6, "{} messages", texts.len());
    }
}
