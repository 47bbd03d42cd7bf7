//! `Runtime`: scripts and the objects they give.

use serde::Serialize;
use serde_json::Value;

use crate::command::{Nothing, commands, notifications, objects};

commands! {
    /// Collects all garbage of the page's renderer.
    CollectGarbage = "HeapProfiler.collectGarbage" -> Nothing {}

    /// Lets a target run that waits since its creation.
    RunIfWaitingForDebugger = "Runtime.runIfWaitingForDebugger" -> Nothing {}

    /// Reports execution contexts, first those that exist, then the reply, then new ones.
    Enable = "Runtime.enable" -> Nothing {}

    /// Ends the reports.
    Disable = "Runtime.disable" -> Nothing {}

    /// Evaluates an expression.
    Evaluate = "Runtime.evaluate" -> Evaluated {
        /// JavaScript.
        expression: String,
        /// Where; the page's own world where absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        context_id: Option<i64>,
        /// JSON instead of a handle.
        return_by_value: bool,
        /// Wait for a promise.
        await_promise: bool,
        /// As if a user had done it.
        user_gesture: bool,
    }

    /// Calls a function with an object as `this`, or in a context.
    CallFunctionOn = "Runtime.callFunctionOn" -> Evaluated {
        /// JavaScript of a function.
        function_declaration: String,
        /// `this`.
        #[serde(skip_serializing_if = "Option::is_none")]
        object_id: Option<String>,
        /// Where, if there is no `this`.
        #[serde(skip_serializing_if = "Option::is_none")]
        execution_context_id: Option<i64>,
        /// What it is called with.
        arguments: Vec<Argument>,
        /// JSON instead of a handle.
        return_by_value: bool,
        /// Wait for a promise.
        await_promise: bool,
        /// As if a user had done it.
        user_gesture: bool,
    }

    /// Ends the script that runs, if one does.
    TerminateExecution = "Runtime.terminateExecution" -> Nothing {}

    /// The properties of an object.
    GetProperties = "Runtime.getProperties" -> Properties {
        /// Which.
        object_id: String,
        /// Without those inherited.
        own_properties: bool,
    }

    /// Gives a handle back.
    ReleaseObject = "Runtime.releaseObject" -> Nothing {
        /// Which.
        object_id: String,
    }
}

impl CallFunctionOn {
    /// A call without `this` in a context. Its value comes as JSON, once it is there where it is a promise.
    pub fn in_context(context: i64, function: &str, arguments: Vec<Argument>) -> Self {
        Self {
            function_declaration: function.into(),
            object_id: None,
            execution_context_id: Some(context),
            arguments,
            return_by_value: true,
            await_promise: true,
            user_gesture: false,
        }
    }
}

/// One argument of a call.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Argument {
    /// JSON.
    Value(Value),
    /// A handle.
    ObjectId(String),
}

impl std::fmt::Debug for Argument {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Argument")
    }
}

objects! {
    /// What a script gave.
    Evaluated {
        /// Its result; the thrown value where it threw.
        result: RemoteObject,
        /// Present where it threw.
        exception_details: Option<ExceptionDetails>,
    }

    /// A value or a handle to an object.
    RemoteObject {
        /// Such as `undefined`, `object`, `bigint`.
        #[serde(rename = "type")]
        kind: String,
        /// Such as `node` or `null`.
        subtype: Option<String>,
        /// JSON, where asked for.
        value: Option<Value>,
        /// What JSON cannot say: `NaN`, `-0`, `12n`.
        unserializable_value: Option<String>,
        /// In words.
        description: Option<String>,
        /// The handle.
        object_id: Option<String>,
    }

    /// What was thrown.
    ExceptionDetails {
        /// Such as `Uncaught`.
        text: String,
        /// The thrown value.
        exception: Option<RemoteObject>,
    }

    /// The reply to [`GetProperties`].
    Properties {
        /// In the object's order.
        result: Vec<Property>,
    }

    /// One property.
    Property {
        /// Its name.
        name: String,
        /// Its value.
        value: Option<RemoteObject>,
    }

    /// A place where scripts run.
    ExecutionContext {
        /// Its id.
        id: i64,
        /// More on it.
        aux_data: Option<ContextAux>,
    }

    /// Which frame a context is of.
    ContextAux {
        /// The frame.
        #[serde(default)]
        frame_id: String,
        /// Whether it is the page's own world.
        #[serde(default)]
        is_default: bool,
    }
}

notifications! {
    /// A context came to be.
    ExecutionContextCreated = "Runtime.executionContextCreated" {
        /// Which.
        context: ExecutionContext,
    }
}
