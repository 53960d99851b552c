//! What a cloud driver is opened with.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    DriverError, Secret,
    schema::{ConfigSchema, Field, Object, Schema},
};

/// Configuration of a cloud driver whose own settings are `S`: an entry of the farm has `user`, `password` and the settings in
/// `extra_params`; a driver that is opened by itself may have the settings at the top.
#[derive(Debug, Deserialize)]
pub struct FarmConfig<S> {
    /// Account in the cloud.
    pub user: Option<String>,
    /// What proves that the account is ours.
    pub password: Option<Secret>,
    extra_params: Option<S>,
    #[serde(flatten)]
    top: Map<String, Value>,
}

impl<S: DeserializeOwned> FarmConfig<S> {
    /// The driver's own settings.
    ///
    /// # Errors
    /// `invalid_argument`: they stand in both places, or those at the top are no good.
    pub fn settings(self) -> Result<S, DriverError> {
        match self.extra_params {
            Some(_) if !self.top.is_empty() => {
                let keys: Vec<&str> = self.top.keys().map(String::as_str).collect();
                Err(DriverError::invalid_argument(format!(
                    "{} stands beside extra_params; put all settings into extra_params, or leave that out",
                    keys.join(", ")
                )))
            }
            Some(settings) => Ok(settings),
            None => serde_json::from_value(self.top.into())
                .map_err(|error| DriverError::invalid_argument(error.to_string())),
        }
    }
}

/// Settings that `S` may have at most: the list of all fields is made at compile time, when its length cannot depend on `S`.
const MOST: usize = 64;

impl<S: ConfigSchema> FarmConfig<S> {
    const OBJECT: Object = match S::SCHEMA {
        Schema::Object(object) => *object,
        _ => panic!("the settings of a cloud driver are a struct with named fields"),
    };
    const EXTRA_PARAMS: Schema = S::SCHEMA;
    const OWN: [Field; 3] = [
        Field { name: "user", description: "Account in the cloud.", required: false, schema: &Schema::Text },
        Field {
            name: "password",
            description: "What proves that the account is ours.",
            required: false,
            schema: &Schema::Secret,
        },
        Field { name: "extra_params", description: "", required: false, schema: &Self::EXTRA_PARAMS },
    ];
    const ALL: &'static [Field; MOST] = &{
        let (own, settings) = (Self::OWN, Self::OBJECT.fields);
        assert!(own.len() + settings.len() <= MOST, "a cloud driver has at most 61 settings");
        let mut all = [own[0]; MOST];
        let mut i = 0;
        while i < own.len() + settings.len() {
            all[i] = if i < own.len() { own[i] } else { settings[i - own.len()] };
            i += 1;
        }
        // What is required is so in whichever of the two places it stands.
        let mut i = own.len();
        while i < own.len() + settings.len() {
            all[i].required = false;
            i += 1;
        }
        all
    };
    const FIELDS: &'static [Field] = Self::ALL.split_at(Self::OWN.len() + Self::OBJECT.fields.len()).0;
}

// By hand: the derive knows no flattened fields.
impl<S: ConfigSchema> ConfigSchema for FarmConfig<S> {
    const SCHEMA: Schema = Schema::Object(&Object { description: Self::OBJECT.description, fields: Self::FIELDS });
}
