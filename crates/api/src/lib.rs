//! The wire types of Pilotlight's REST interface, shared by the server, the command line and tests.
//!
//! Requests are strict: an unknown field is an error. Answers may grow, so their types ignore what they do
//! not know. This crate never decides anything and never does IO; what it checks is only whether a value
//! could mean something ([`validate`]). Secrets are [`secrecy::SecretString`]; only [`secret`] writes them.

pub mod answer;
pub mod body;
pub mod credential;
pub mod duration;
pub mod error;
pub mod event;
pub mod live;
pub mod operation;
pub mod quiet;
pub mod request;
pub mod secret;
pub mod session;
pub mod sign_in;
pub mod site;
pub mod validate;

pub use answer::{
    CheckState, DashboardKey, DashboardLink, DashboardTicket, DoctorAnswer, EvaluateAnswer, FailedStep,
    FailureAnswer, Health, HealthStatus, HoldAnswer, LoadSample, MachineAnswer, MachineCheck, MessageAnswer,
    PingAnswer, ShardAnswer, SiteAnswer, SiteReportAnswer, SitesAnswer, TakenAnswer,
};
pub use body::parse_body;
pub use credential::{Credential, CredentialAnswer, CredentialDefinition, CredentialsAnswer};
pub use duration::Seconds;
pub use error::{ErrorBody, ErrorCode};
pub use event::{AnsweredDialog, Event, EventKind};
pub use live::{LiveCommand, LiveDialog, LiveMouse, LiveOption, LiveState, LiveTab, LiveTouch, LiveUpdate};
pub use operation::{
    ContinueOperation, InputKind, OperationAnswer, OperationDefinition, OperationScreenshot, OperationStatus,
    OperationsAnswer, OperationsQuery, PhaseDefinition, RunOperation,
};
pub use quiet::{QuietHours, QuietHoursError};
pub use request::{
    CreateSession, DrainRequest, EnterDashboard, EvaluateRequest, EventsQuery, ExtendHold, HoldRequest,
    ImageFormat, NavigateRequest, PatchSession, Proxy, ScreenshotQuery, SessionsQuery, TicketRequest,
    Viewport,
};
pub use session::{
    CreatedAnswer, EndedReason, Isolation, MemoryMeasure, Session, SessionAnswer, SessionClient, SessionHold,
    SessionSignIn, SessionState, SessionsAnswer, SignInHow, SignInStatus,
};
pub use sign_in::SignIn;
pub use site::{
    DialogDefinition, Ready, RefreshAsleep, RefreshDefinition, RefreshHow, RefreshWhere, RestoreFields,
    SignedInAs, SiteDefinition,
};
pub use validate::FieldError;
