//! Downloads and uploads. The browser's user can read and write the files of other windows, so Chromium never gets a
//! path of the client: downloads are stored in the session's folder, and uploads are read from there.

use std::path::Path;

use serde_json::{Value, json};

use crate::state::{Ids, Out, Pending, VirtualBrowser};
use crate::wire::{Caller, Refusal, needed, raw, read, refusal, text};

/// Uploads that may wait for their files.
const MAX_UPLOADS: usize = 64;
/// Files of one upload.
const MAX_FILES: usize = 256;

impl VirtualBrowser {
    pub(crate) fn set_downloads(
        &mut self,
        caller: &Caller,
        params: &mut Value,
        ids: Ids<'_>,
    ) -> Result<(), Refusal> {
        self.inject_context(params)?;
        let allowed = match needed(params, "behavior")? {
            "allow" => true,
            "allowAndName" => true,
            "deny" | "default" => false,
            _ => return Err(Refusal::params("behavior: not one of deny, allow, allowAndName, default")),
        };
        self.downloads.by_id = params.get("behavior") == Some(&json!("allowAndName"));
        self.downloads.wanted = text(params, "downloadPath")?.filter(|_| allowed).map(str::to_owned);
        let listens = params.get("eventsEnabled") == Some(&Value::Bool(true));
        self.downloads.listener = listens.then(|| caller.session.clone());
        if allowed {
            params["downloadPath"] = json!(self.identity.folder);
            params["eventsEnabled"] = json!(true);
        } else {
            params["behavior"] = json!("deny");
            if let Some(params) = params.as_object_mut() {
                params.remove("downloadPath");
            }
        }
        self.call("Browser.setDownloadBehavior", params, Pending::Pass(caller.clone()), ids)
    }

    pub(crate) fn download_event(&mut self, method: &str, params: &Value) {
        let guid = params.get("guid").and_then(Value::as_str).unwrap_or_default();
        if method == "Browser.downloadWillBegin" {
            let suggested = params.get("suggestedFilename").and_then(Value::as_str).unwrap_or_default();
            let name = if self.downloads.by_id { guid } else { suggested };
            self.downloads.names.insert(guid.to_owned(), name.to_owned());
        } else if params.get("state") != Some(&json!("inProgress")) {
            let name = self.downloads.names.remove(guid);
            // If a name was taken, Chromium reports the name under which the file is stored.
            let path = params.get("filePath").and_then(Value::as_str).map(Path::new);
            let told = path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            let is_there = params.get("state") == Some(&json!("completed"));
            if let (true, Some(name), Some(wanted)) = (is_there, told.or(name), &self.downloads.wanted) {
                self.out.push_back(Out::Deliver { name, wanted: wanted.clone() });
            }
        }
        if let Some(listener) = self.downloads.listener.clone() {
            self.emit(listener.as_deref(), method, params);
        }
    }

    /// Handles `DOM.setFileInputFiles`: the caller of this crate decides which files are allowed.
    pub(crate) fn give_files(&mut self, caller: &Caller, params: Value) -> Result<(), Refusal> {
        let files = params.get("files").and_then(Value::as_array);
        let files: Option<Vec<String>> =
            files.and_then(|files| files.iter().map(|file| file.as_str().map(str::to_owned)).collect());
        let files = files.ok_or_else(|| Refusal::params("files: array of strings expected"))?;
        if files.len() > MAX_FILES || self.downloads.uploads.len() >= MAX_UPLOADS {
            return Err(Refusal::server("Too many files at once"));
        }
        self.downloads.last_ticket += 1;
        let ticket = self.downloads.last_ticket;
        self.downloads.uploads.insert(ticket, (caller.clone(), params));
        self.out.push_back(Out::Upload { ticket, files });
        Ok(())
    }

    /// Sets the paths at which Chromium finds the files of an upload, or the reason for a refusal.
    pub fn uploaded(&mut self, ticket: u64, files: Result<Vec<String>, String>, ids: Ids<'_>) {
        let Some((caller, mut params)) = self.downloads.uploads.remove(&ticket) else { return };
        let given = files.map_err(Refusal::server).and_then(|files| {
            params["files"] = json!(files);
            let session = caller.session.clone().ok_or_else(Refusal::no_session)?;
            let params = raw(&params);
            read(params.as_deref())?;
            let pending = Pending::Pass(caller.clone());
            self.send(&session, "DOM.setFileInputFiles", params.as_deref(), pending, ids)
        });
        if let Err(refused) = given {
            self.out.push_back(Out::Client(refusal(&caller, &refused)));
            self.turn_to_pages(ids);
        }
    }
}
