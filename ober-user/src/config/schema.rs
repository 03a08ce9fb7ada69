//! The JSON schema of the configuration, for editors.

use schemars::generate::SchemaSettings;

use super::raw;

/// Made from the types that the file is parsed into, so that the two always agree.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<raw::File>()
        .to_value()
}
