//! Every key of a scenario file: one table that refuses unknown keys, suggests the nearest, and prints the JSON Schema.
//!
//! The reader (`read.rs`) asks it which keys a table may have; `loadgen schema` prints it for editors; a test holds
//! `docs/SCENARIOS.md` to it. What a value *means* is decided where it is read, so this table has shapes and words only.

mod load;
mod network;
mod run;

use serde_json::{Map, Value, json};

use Shape::{Bool, Choice, Count, List, Named, Probability, Seed, TableOf, Text, Unit};

pub(crate) use load::{
    ARRIVAL, CLIENTS, DELIVERY, PHASE, RAMP, READER, RELIABILITY, ROOMS, SIZES, SPAN, WORKLOAD,
};
pub(crate) use network::{DELAY, DIRECTION, EVENT, EVENT_SET, LINK, LOSS, PROTOCOL, QUEUE, REORDER};
pub(crate) use run::{
    ABORT, ASSERT, AXIS, BASELINE, INVALID_IF, MEASURE, OUTPUT, REGRESS, ROOT, RUN, SCENARIO, SEARCH, SERVER,
    SWEEP, TRACES,
};

/// The keys of one table.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) keys: &'static [Key],
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// One line: meaning and default.
    pub(crate) help: &'static str,
}

/// What may stand behind a key. Alternatives are tried in no order: a value must fit one.
#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    /// Text with a unit, and an example of it.
    Unit(&'static str),
    /// Whole number, or text such as `"10k"`.
    Count,
    /// Whole number only.
    Seed,
    /// 0 to 1, or text such as `"10%"`.
    Probability,
    /// Any number from 1.
    FromOne,
    /// Any number from 0.
    Number,
    Bool,
    Choice(&'static [&'static str]),
    TableOf(&'static Keys),
    /// A table whose keys the user chooses.
    Named(&'static Keys),
    List(&'static Shape),
    Either(&'static [Shape]),
    Anything,
}

const fn key(name: &'static str, shape: Shape, help: &'static str) -> Key {
    Key { name, shape, help }
}

const DURATION: Shape = Unit("50ms");
const SIZE: Shape = Unit("1200B");

impl Keys {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// JSON Schema (2020-12) of a scenario file, for editors that complete and check TOML.
#[must_use]
pub fn schema_json() -> Value {
    let mut root = table_schema(&ROOT);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Squall scenario".into();
    root["required"] = json!(["schema"]);
    root["properties"]["schema"] = json!({ "const": 1, "description": ROOT.keys[0].help });
    root["properties"]["extends"] = json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        "description": ROOT.keys[1].help,
    });
    root
}

fn table_schema(keys: &Keys) -> Value {
    let properties: Map<String, Value> = keys
        .keys
        .iter()
        .map(|key| {
            let mut schema = shape_schema(&key.shape);
            schema["description"] = key.help.into();
            (key.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn shape_schema(shape: &Shape) -> Value {
    match shape {
        Text => json!({ "type": "string" }),
        Unit(example) => json!({ "type": "string", "examples": [example] }),
        Count => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "examples": ["10k"] }] })
        }
        Seed => json!({ "type": "integer", "minimum": 0 }),
        Probability => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "examples": ["10%"] },
        ] }),
        Shape::FromOne => json!({ "type": "number", "minimum": 1 }),
        Shape::Number => json!({ "type": "number", "minimum": 0 }),
        Bool => json!({ "type": "boolean" }),
        Choice(words) => json!({ "enum": words }),
        TableOf(keys) => table_schema(keys),
        Named(keys) => json!({ "type": "object", "additionalProperties": table_schema(keys) }),
        List(item) => json!({ "type": "array", "items": shape_schema(item) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(shape_schema).collect::<Vec<_>>() }),
        Shape::Anything => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_schema_knows_nested_keys() {
        let schema = schema_json();
        let link = &schema["properties"]["link"]["additionalProperties"]["properties"]["both"]["anyOf"][0];
        assert_eq!(link["properties"]["rate"]["type"], "string");
        assert_eq!(link["additionalProperties"], false);
        assert_eq!(schema["properties"]["schema"]["const"], 1);
    }
}
