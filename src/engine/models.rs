//! Finds out, at no cost, whether an engine has the model and accepts the token.

use std::time::Duration;

use serde_json::Value;

use super::api::EngineConfig;
use super::failure::Failure;
use crate::http::Http;

/// For one request; there may be two.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What an engine says about the model.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    Known,
    /// It has these models instead.
    Unknown(Vec<String>),
    /// It answers, with this status, but lists no models.
    NoList(u16),
    /// It answers, with this status, and its API has no such list.
    Unlisted(u16),
}

/// Asks an engine for its models, with the token. An engine whose API has no such list is only
/// connected to, and gets no token.
pub fn look_up_model(config: &EngineConfig, http: &Http) -> Result<Lookup, Failure> {
    let Some(path) = config.api.models_path else {
        let reply = http.get(&config.url, &[], TIMEOUT)?;
        return match reply.status {
            500.. => Err(Failure::outside_2xx(reply.status, &Value::Null)),
            status => Ok(Lookup::Unlisted(status)),
        };
    };
    let headers = (config.api.headers)(config.token.as_ref());
    let get = |path: &str| http.get(&config.url.join(path), &headers, TIMEOUT);
    let reply = get(path)?;
    let body = reply.json().unwrap_or_default();
    if !reply.is_success() && !matches!(reply.status, 404 | 405 | 501) {
        return Err(Failure::outside_2xx(reply.status, &body));
    }
    // The models of a list: `{"data":[{"id":..}, ..]}`.
    let list = body["data"].as_array().filter(|_| reply.is_success());
    let Some(list) = list else {
        return Ok(Lookup::NoList(reply.status));
    };
    let names = list.iter().filter_map(|model| model["id"].as_str());
    let names: Vec<_> = names.collect();
    let model = config.model.as_deref().unwrap_or_default();
    // A list has no aliases (`claude-haiku-4-5`, Ollama's names without a tag) and may have more
    // pages, but a look-up of a single model also finds those.
    let has_model = || {
        let reply = get(&format!("{path}/{model}")).ok()?;
        let body = reply.json().filter(|_| reply.is_success())?;
        body["id"].as_str().map(drop)
    };
    Ok(match names.contains(&model) || has_model().is_some() {
        true => Lookup::Known,
        false => Lookup::Unknown(names.into_iter().map(str::to_owned).collect()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::config;
    use super::super::{APIS, Api, Reason, anthropic, kora, openai};
    use super::*;
    use crate::http::fake_server::{answer, routing};

    const LIST: &str = r#"{"object":"list","data":[{"id":"m1"},{"id":"m2"},{"no_id":1}]}"#;

    /// Returns the result of a look-up in which the list and the model's own page are answered so,
    /// and the requests.
    fn looked_up(
        api: &'static Api,
        model: &str,
        list: (&str, &str),
        page: (&str, &str),
    ) -> (Result<Lookup, Failure>, Vec<String>) {
        let (list, page) = (answer(list.0, list.1), answer(page.0, page.1));
        let server = routing(move |request| {
            let is_list = request.contains("/models HTTP/1.1");
            if is_list { &list } else { &page }.clone()
        });
        let config = EngineConfig {
            model: Some(model.to_owned()),
            ..config(api, &server.url)
        };
        let result = look_up_model(&config, &Http::default());
        (result, server.requests.try_iter().collect())
    }

    #[test]
    fn a_model_is_known_if_it_is_listed_or_found_by_its_name() {
        let missing = ("404 Not Found", "{}");
        let unknown = || Ok(Lookup::Unknown(vec!["m1".to_owned(), "m2".to_owned()]));
        for (model, page, result) in [
            ("m2", missing, Ok(Lookup::Known)),
            ("m3", missing, unknown()),
            (
                "m3",
                ("200 OK", r#"{"id":"m3-2026","object":"model"}"#),
                Ok(Lookup::Known),
            ),
            ("m3", ("200 OK", LIST), unknown()),
        ] {
            let (found, _) = looked_up(&openai::API, model, ("200 OK", LIST), page);
            assert_eq!(found, result, "{model}");
        }
    }

    #[test]
    fn the_list_is_asked_for_with_the_token() {
        let list = ("200 OK", LIST);
        let (_, requests) = looked_up(&openai::API, "m1", list, list);
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("GET /models HTTP/1.1\r\n"));
        assert!(requests[0].contains("\r\nauthorization: Bearer t0ken\r\n"));
        let (_, requests) = looked_up(&anthropic::API, "m3", list, list);
        assert!(requests[0].starts_with("GET /v1/models HTTP/1.1\r\n"));
        assert!(requests[1].starts_with("GET /v1/models/m3 HTTP/1.1\r\n"));
        for request in requests {
            assert!(request.contains("\r\nx-api-key: t0ken\r\n"));
            assert!(request.contains("\r\nanthropic-version: 2023-06-01\r\n"));
        }
    }

    #[test]
    fn a_server_without_a_list_counts_as_reached() {
        for (status, body) in [
            ("404 Not Found", "{}"),
            ("405 X", ""),
            ("501 X", ""),
            ("200 OK", "<html>"),
            ("200 OK", r#"{"models":[]}"#),
        ] {
            let number = status[..3].parse().unwrap();
            let (found, requests) = looked_up(&openai::API, "m1", (status, body), (status, body));
            assert_eq!(found, Ok(Lookup::NoList(number)), "{status}");
            assert_eq!(requests.len(), 1);
        }
    }

    #[test]
    fn kora_is_reached_without_the_token() {
        let (found, requests) = looked_up(&kora::API, "m1", ("200 OK", ""), ("405 X", ""));
        assert_eq!(found, Ok(Lookup::Unlisted(405)));
        assert!(!requests[0].contains("t0ken"), "{}", requests[0]);
    }

    #[test]
    fn a_refused_list_is_a_failure_with_the_servers_message() {
        let refusal = (
            "401 X",
            r#"{"error":{"code":"bad_key","message":"t0ken-less"}}"#,
        );
        let (found, _) = looked_up(&openai::API, "m1", refusal, refusal);
        assert_eq!(found.unwrap_err().to_string(), "401 bad_key: t0ken-less");
        for api in APIS {
            let down = ("503 X", "");
            let (found, _) = looked_up(api, "m1", down, down);
            assert_eq!(found.unwrap_err().reason, Reason::Http(503), "{}", api.name);
        }
    }
}
