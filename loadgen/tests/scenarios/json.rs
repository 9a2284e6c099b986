//! The JSON Schema says what the reader takes: every scenario that loads is valid, and what the schema forbids is not.
//!
//! A validator for the words that the schema uses is short; one for all of JSON Schema would be the largest dependency
//! of the workspace's tests.

use serde_json::{Value, json};

use super::{annotated, example, loaded, reference, shipped};
use loadgen::scenario::schema_json;

/// Where `value` breaks `schema`; `None` if it does not.
fn fault(schema: &Value, value: &Value, path: &str) -> Option<String> {
    let words = schema.as_object()?;
    for (word, wanted) in words {
        let fits = match word.as_str() {
            "type" => match wanted.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("boolean") => value.is_boolean(),
                Some("integer") => value.is_i64() || value.is_u64(),
                Some("number") => value.is_number(),
                other => panic!("{path}: the schema has a type of {other:?}"),
            },
            "enum" => wanted.as_array().is_some_and(|words| words.contains(value)),
            "const" => value == wanted,
            "minimum" => value.as_f64() >= wanted.as_f64(),
            "maximum" => value.as_f64() <= wanted.as_f64(),
            "required" => wanted
                .as_array()
                .is_some_and(|keys| keys.iter().all(|key| value.get(key.as_str().unwrap_or("")).is_some())),
            "anyOf" => {
                wanted.as_array().is_some_and(|any| any.iter().any(|it| fault(it, value, path).is_none()))
            }
            "properties"
            | "additionalProperties"
            | "items"
            | "description"
            | "examples"
            | "title"
            | "$schema" => true,
            other => panic!("{path}: the validator does not know {other}"),
        };
        if !fits {
            return Some(format!("{path}: {value} is not {word} {wanted}"));
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let known = schema.get("properties").and_then(|properties| properties.get(key));
        let found = match known.or(schema.get("additionalProperties")) {
            Some(Value::Bool(false)) => Some(format!("{path} is not allowed")),
            Some(schema) => fault(schema, inner, &path),
            None => None,
        };
        if found.is_some() {
            return found;
        }
    }
    let items = schema.get("items");
    value.as_array().into_iter().flatten().find_map(|item| fault(items?, item, &format!("{path}[]")))
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).expect("it is TOML")).expect("TOML is JSON")
}

#[test]
fn every_scenario_is_valid_as_it_is_written_and_as_it_is_printed() {
    let schema = schema_json();
    let check = |name: &str, text: &str| assert_eq!(fault(&schema, &as_json(text), name), None);
    for path in shipped().into_iter().chain([annotated()]) {
        let name = path.display().to_string();
        check(&name, &std::fs::read_to_string(&path).unwrap());
        check(&format!("{name}, effective"), &loaded(&path).effective_toml);
    }
    check("the example", example(&reference()));
}

#[test]
fn what_the_reader_refuses_by_shape_the_schema_refuses_too() {
    let schema = schema_json();
    for (value, place) in [
        (json!({}), "required"),
        (json!({ "schema": 2 }), "const"),
        (json!({ "schema": 1, "rnu": {} }), "rnu is not allowed"),
        (json!({ "schema": 1, "run": { "order": "random" } }), ".run.order"),
        (json!({ "schema": 1, "link": { "l": { "up": { "losss": 0.1 } } } }), ".link.l.up"),
        (json!({ "schema": 1, "workload": [{ "name": "w", "in_flight": -1 }] }), ".workload[].in_flight"),
        (json!({ "schema": 1, "phase": [{ "rate": "2" }] }), ".phase[].rate"),
    ] {
        let fault = fault(&schema, &value, "").unwrap_or_else(|| panic!("{value} is valid"));
        assert!(fault.contains(place), "{fault}");
    }
}
