//! The API's description against its routes: neither knows one that the other doesn't.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::client::raw;
use crate::gateway::{Console, console};

/// Where the routes stand, for their paths.
const ROUTES: &str = include_str!("../../src/api.rs");

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "head", "options"];

async fn document(console: &Console) -> Value {
    let answer = raw(console.address, b"GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "it needs no credentials");
    answer.body
}

/// Each described path with its methods.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let item = item.as_object().expect("a path's operations");
        item.keys().filter(|key| METHODS.contains(&key.as_str())).map(|method| method.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let console = console().await;
    let described = described(&document(&console).await);
    let routed: BTreeSet<&str> = ROUTES.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(routed.len() > 20, "the routes were not found: {routed:?}");
    assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), routed);

    for (path, methods) in described {
        let path = path.replace(['{', '}'], "");
        // No route takes PUT; the answer says what it takes, before it asks who.
        let answer =
            raw(console.address, format!("PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let allowed = answer.header("allow").unwrap_or_else(|| panic!("PUT {path}: {}", answer.head));
        let allowed: BTreeSet<String> = allowed.split(',').filter(|method| *method != "HEAD").map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
    }
    console.shut_down().await;
}

#[tokio::test]
async fn the_countries_are_those_that_are_taken() {
    let console = console().await;
    let document = document(&console).await;
    let listed = document["components"]["schemas"]["Country"]["enum"].as_array().expect("a list").clone();
    let letters = || (b'a'..=b'z').map(char::from);
    let all = letters().flat_map(|one| letters().map(move |other| format!("{one}{other}")));
    let taken: Vec<String> = all.filter(|code| outgate_store::Country::parse(code).is_ok()).collect();
    assert_eq!(listed, taken);
    console.shut_down().await;
}

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_description_holds_together() {
    let console = console().await;
    let document = document(&console).await;
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let components = document["components"].as_object().expect("components");
    let named = |kind: &str| components[kind].as_object().cloned().unwrap_or_default();
    let kinds = ["parameters", "responses", "schemas"];
    let defined: BTreeSet<String> = kinds
        .iter()
        .flat_map(|kind| named(kind).into_iter().map(move |(name, _)| format!("#/components/{kind}/{name}")))
        .collect();
    assert_eq!(used.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), defined, "each is defined, and none for nothing");

    let nothing = Map::new();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let operations = item.as_object().unwrap_or(&nothing).iter().filter(|(method, _)| METHODS.contains(&method.as_str()));
        for (method, operation) in operations {
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{what}: no id"));
            assert!(ids.insert(id.to_owned()), "{what}: {id} is taken");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{what}");
            let answers = operation["responses"].as_object().unwrap_or(&nothing);
            assert!(answers.keys().any(|status| status.starts_with('2')), "{what}");
            let open = operation["security"] == serde_json::json!([]);
            assert_eq!(answers.contains_key("401"), !open, "{what}: who may ask");
        }
    }
    console.shut_down().await;
}
