//! A function on AWS's own runtime client for Rust, for Lamina's tests.
use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let (value, context) = event.into_parts();
        match value["do"].as_str() {
            Some("raise") => Err(Error::from("some error occurred")),
            Some("context") => Ok(json!({
                "id": context.request_id,
                "arn": context.invoked_function_arn,
                "name": context.env_config.function_name,
                "memory": context.env_config.memory,
                "trace": context.xray_trace_id,
                "custom": context.client_context.map(|c| c.custom),
            })),
            _ => Ok(value),
        }
    }))
    .await
}
