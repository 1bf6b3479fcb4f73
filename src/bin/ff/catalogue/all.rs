//! `ff sql --all`: the statements for clients in other languages, as a catalogue.

use std::collections::BTreeMap;

use ff_catalogue::Call;
use ff_catalogue::client::vectors::{Vectors, vectors};
use ff_catalogue::client::{ClientCall, Given, Reason, VERSION, client_calls};
use ff_codegen::dialect::Dialect;
use ff_codegen::migrations::POSTGRES;
use ff_codegen::{
    Arity, Bind, BindSource, Fused, RenderError, Rendered, Script, ScriptStep, Statement,
};
use ff_core::plan::value::{ColumnType, Value};
use ff_core::plan::{Lookup, Path, Plan, Query, Return};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::output::Output;

/// The catalogue of one database.
#[derive(Debug, Serialize)]
struct CatalogueView {
    version: &'static str,
    /// The version of the schema that the statements are for.
    schema: u32,
    dialect: &'static str,
    /// A digest of the hashes of all statements.
    hash: String,
    statements: Vec<StatementView>,
    vectors: Vectors,
}

/// One statement of a client: one text, or several in one transaction.
#[derive(Debug, Serialize)]
struct StatementView {
    name: String,
    summary: &'static str,
    /// The arguments, in the order in which the texts first bind them.
    binds: Vec<ColumnView>,
    steps: Vec<StepView>,
    /// The values that it answers with, for each row that it picked or read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    returns: Vec<ReturnView>,
    /// The reasons for a refusal, most important first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonView>,
    /// SHA-256 of the texts, each with a line feed behind it.
    hash: String,
}

/// One text.
#[derive(Debug, Serialize)]
struct StepView {
    purpose: Purpose,
    sql: String,
    params: Vec<ParamView>,
    columns: Vec<ColumnView>,
}

/// The purpose of a text.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    /// A read.
    Read,
    /// The whole plan: one row for each applied item.
    Plan,
    /// A select that must find a row.
    Guard,
    /// A select of the rows to work on.
    Pick,
    /// A write.
    Write,
    /// A write that must change a row.
    MustWrite,
    /// A write, once for each picked row.
    WriteEach,
    /// A write that must change a row, once for each picked row.
    MustWriteEach,
    /// A select after a refusal: a row means that another row prevents the plan.
    Prevented,
}

/// A value by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ColumnView {
    name: String,
    #[serde(rename = "type")]
    ty: &'static str,
}

/// A value that a statement answers with.
#[derive(Debug, Serialize)]
struct ReturnView {
    #[serde(flatten)]
    column: ColumnView,
    /// The column of a step that holds it.
    found: String,
}

/// One parameter, in the order of the placeholders.
#[derive(Debug, Serialize)]
struct ParamView {
    #[serde(flatten)]
    source: SourceView,
    #[serde(rename = "type")]
    ty: &'static str,
    /// The type that the database knows it by.
    sql_type: String,
    /// True for an array with one element for each item.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    array: bool,
}

/// The source of a parameter.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceView {
    Argument(String),
    /// A list with one value for each picked row.
    Each(String),
    Constant(Json),
    /// A document with arguments in it.
    Document(Json),
    /// A column that an earlier step found.
    Found(String),
    /// The number of rows that an earlier step picked.
    Picked(&'static str),
}

/// A reason for a refusal: a read that finds no row.
#[derive(Debug, Serialize)]
struct ReasonView {
    refusal: String,
    sql: String,
    params: Vec<ParamView>,
}

/// Prints the catalogue.
pub(super) fn run(output: Output, dialect: &dyn Dialect) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("the catalogue: {error}"));
    let calls = client_calls().map_err(|error| failed(&error))?;
    let clock = Ok(clock(dialect));
    let statements = calls.iter().map(|call| StatementView::new(dialect, call));
    let statements: Result<Vec<_>, RenderError> = [clock].into_iter().chain(statements).collect();
    let statements = statements.map_err(|error| failed(&error))?;

    if !output.is_json() {
        for statement in &statements {
            output.lines(&statement.text())?;
        }
        return Ok(());
    }
    output.json(&CatalogueView {
        version: VERSION,
        schema: POSTGRES.last().map_or(0, |migration| migration.version),
        dialect: dialect.name(),
        hash: hash(statements.iter().map(|statement| statement.hash.as_str())),
        statements,
        vectors: vectors().map_err(|error| failed(&error))?,
    })?;
    Ok(())
}

/// The statement that reads the database's clock.
fn clock(dialect: &dyn Dialect) -> StatementView {
    let now = ColumnView { name: "now_ms".into(), ty: ColumnType::BigInt.name() };
    let step = StepView {
        purpose: Purpose::Read,
        sql: ff_codegen::now_ms(dialect),
        params: Vec::new(),
        columns: vec![now],
    };
    let summary = "Reads the clock of the database, which every decision goes by, in Unix ms.";
    StatementView::of("clock".into(), summary, vec![step], Vec::new(), Vec::new())
}

impl StatementView {
    fn new(dialect: &dyn Dialect, call: &ClientCall) -> Result<Self, RenderError> {
        let (steps, returns) = match &call.call {
            Call::Query(query) => (vec![read(dialect, query, &call.given)?], Vec::new()),
            Call::Plan(plan) => match ff_codegen::render(dialect, &plan.shape())? {
                Rendered::Fused(text) => fused(dialect, plan, text, &call.given)?,
                Rendered::Script(script) => scripted(dialect, plan, &script, &call.given),
            },
        };
        let reasons = call.reasons.iter().map(|reason| ReasonView::new(dialect, reason));
        let reasons = reasons.collect::<Result<_, _>>()?;
        Ok(Self::of(call.name.clone(), call.summary, steps, returns, reasons))
    }

    fn of(
        name: String,
        summary: &'static str,
        steps: Vec<StepView>,
        returns: Vec<ReturnView>,
        reasons: Vec<ReasonView>,
    ) -> Self {
        let mut binds: Vec<ColumnView> = Vec::new();
        for param in steps.iter().flat_map(|step| &step.params) {
            for bind in param.arguments() {
                if binds.iter().all(|known| known.name != bind.name) {
                    binds.push(bind);
                }
            }
        }
        let hash = hash(steps.iter().map(|step| step.sql.as_str()));
        Self { name, summary, binds, steps, returns, reasons, hash }
    }

    /// The statement as people read it.
    fn text(&self) -> String {
        let binds: Vec<&str> = self.binds.iter().map(|bind| bind.name.as_str()).collect();
        let texts =
            self.steps.iter().map(|step| format!("-- {}\n{};", step.purpose.word(), step.sql));
        let texts: Vec<String> = texts.collect();
        let (name, summary) = (&self.name, self.summary);
        format!("-- {name}({})\n-- {summary}\n{}\n\n", binds.join(", "), texts.join("\n"))
    }
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "a read",
            Self::Plan => "the whole plan",
            Self::Guard => "a guard that must find a row",
            Self::Pick => "a pick",
            Self::Write => "a write",
            Self::MustWrite => "a write that must change a row",
            Self::WriteEach => "a write for each picked row",
            Self::MustWriteEach => "a write for each picked row, which it must change",
            Self::Prevented => "after a refusal: a row means that another row prevents it",
        }
    }
}

fn read(dialect: &dyn Dialect, query: &Query, given: &[Given]) -> Result<StepView, RenderError> {
    let Statement { sql, binds, yields } =
        ff_codegen::query(dialect, &query.clone().into_shape().0)?;
    let names = match query {
        Query::Lookup(lookups) => lookups.iter().flat_map(lookup_names).collect(),
        Query::List(list) => list.columns.iter().map(|column| column.name.to_owned()).collect(),
        Query::Sums(sums) => {
            sums.by.iter().chain([&sums.of]).map(|column| column.name.to_owned()).collect()
        }
    };
    Ok(StepView {
        purpose: Purpose::Read,
        sql,
        params: params(dialect, &binds, given),
        columns: columns(names, &yields),
    })
}

/// The row's name, NULL for an absent row, and then the columns.
fn lookup_names(lookup: &Lookup) -> Vec<String> {
    let columns = lookup.columns.iter().map(|column| format!("{}.{}", lookup.row, column.name));
    [lookup.row.to_string()].into_iter().chain(columns).collect()
}

fn fused(
    dialect: &dyn Dialect,
    plan: &Plan,
    text: Fused,
    given: &[Given],
) -> Result<(Vec<StepView>, Vec<ReturnView>), RenderError> {
    let mut params = Vec::new();
    for param in &text.params {
        let array = param.arity == Arity::Each;
        let sql_type =
            if array { dialect.array_type(param.ty)?.array } else { dialect.type_name(param.ty) };
        let source = BindSource::Slot(param.slot);
        let bind = Bind { source, ty: param.ty };
        let view = ParamView::new(dialect, &bind, given);
        params.push(ParamView { sql_type: sql_type.to_owned(), array, ..view });
    }

    let mut names = vec!["ordinal".to_owned()];
    names.extend(text.presence.then(|| "picked".to_owned()));
    let returned: Vec<String> = plan.returns.iter().map(returned_name).collect();
    names.extend(returned.iter().cloned());
    let types: Vec<ColumnType> = [ColumnType::BigInt].into_iter().chain(text.yields).collect();
    let columns = columns(names, &types);

    let returns = columns.iter().skip(columns.len() - returned.len());
    let returns =
        returns.map(|column| ReturnView { column: column.clone(), found: column.name.clone() });
    let returns = returns.collect();
    let step = StepView { purpose: Purpose::Plan, sql: text.sql, params, columns };
    Ok((vec![step], returns))
}

fn scripted(
    dialect: &dyn Dialect,
    plan: &Plan,
    script: &Script,
    given: &[Given],
) -> (Vec<StepView>, Vec<ReturnView>) {
    let once = script.once.iter().map(|step| (step, purpose(step, false)));
    let each = script.each.iter().map(|step| (step, purpose(step, true)));
    let prevented = script.prevents.iter().map(|step| (step, Purpose::Prevented));
    let steps = once.chain(each).chain(prevented).map(|(step, purpose)| {
        let Statement { sql, binds, yields } = step.statement().clone();
        let names = step.holds().iter().map(|path| found_name(step.row(), path)).collect();
        let params = params(dialect, &binds, given);
        StepView { purpose, sql, params, columns: columns(names, &yields) }
    });

    let returns = plan.returns.iter().zip(&script.returns).map(|(item, bind)| {
        let column = ColumnView { name: returned_name(item), ty: bind.ty.name() };
        let found = match &bind.source {
            BindSource::Held(row, path) => found_name(row, path),
            BindSource::Slot(_) | BindSource::PickedCount | BindSource::PickedSum(_) => {
                String::new()
            }
        };
        ReturnView { column, found }
    });
    (steps.collect(), returns.collect())
}

const fn purpose(step: &ScriptStep, each: bool) -> Purpose {
    match (step, each) {
        (ScriptStep::Guard { .. }, _) => Purpose::Guard,
        (ScriptStep::Pick { .. }, _) => Purpose::Pick,
        (ScriptStep::Write { must_write: false, .. }, false) => Purpose::Write,
        (ScriptStep::Write { must_write: true, .. }, false) => Purpose::MustWrite,
        (ScriptStep::Write { must_write: false, .. }, true) => Purpose::WriteEach,
        (ScriptStep::Write { must_write: true, .. }, true) => Purpose::MustWriteEach,
    }
}

impl ReasonView {
    fn new(dialect: &dyn Dialect, reason: &Reason) -> Result<Self, RenderError> {
        let refusal = reason.name();
        let query = match &reason.call {
            Call::Query(query) => query,
            Call::Plan(plan) => {
                let rule = "a reason is a read".to_owned();
                return Err(RenderError::Audit { plan: plan.name.to_string(), rule });
            }
        };
        let StepView { sql, params, .. } = read(dialect, query, &reason.given)?;
        Ok(Self { refusal, sql, params })
    }
}

impl ParamView {
    fn new(dialect: &dyn Dialect, bind: &Bind, given: &[Given]) -> Self {
        let source = match &bind.source {
            BindSource::Slot(slot) => match given.get(*slot) {
                Some(Given::Argument(name)) => SourceView::Argument(name.clone()),
                Some(Given::Each(name)) => SourceView::Each(name.clone()),
                Some(Given::Constant(value)) => SourceView::Constant(constant(value)),
                Some(Given::Document(document)) => SourceView::Document(document.clone()),
                None => SourceView::Constant(Json::Null),
            },
            BindSource::Held(row, path) => SourceView::Found(found_name(row, path)),
            BindSource::PickedCount => SourceView::Picked("count"),
            BindSource::PickedSum(path) => SourceView::Picked(path.column.name),
        };
        let sql_type = dialect.type_name(bind.ty).to_owned();
        Self { source, ty: bind.ty.name(), sql_type, array: false }
    }

    /// The arguments that it needs.
    fn arguments(&self) -> Vec<ColumnView> {
        let mut names = BTreeMap::new();
        match &self.source {
            SourceView::Argument(name) => {
                names.insert(name.clone(), self.ty);
            }
            SourceView::Each(name) => {
                names.insert(name.clone(), "list");
            }
            SourceView::Document(document) => note_arguments(document, &mut names),
            SourceView::Constant(_) | SourceView::Found(_) | SourceView::Picked(_) => {}
        }
        names.into_iter().map(|(name, ty)| ColumnView { name, ty }).collect()
    }
}

/// Notes the arguments that a document names.
fn note_arguments(document: &Json, names: &mut BTreeMap<String, &'static str>) {
    match document {
        Json::Object(members) => {
            for (member, inner) in members {
                match (member.as_str(), inner) {
                    ("$value", Json::String(name)) => names.insert(name.clone(), "json"),
                    ("$text", Json::String(name)) => names.insert(name.clone(), "bigint"),
                    (_, inner) => {
                        note_arguments(inner, names);
                        None
                    }
                };
            }
        }
        Json::Array(items) => items.iter().for_each(|item| note_arguments(item, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn params(dialect: &dyn Dialect, binds: &[Bind], given: &[Given]) -> Vec<ParamView> {
    binds.iter().map(|bind| ParamView::new(dialect, bind, given)).collect()
}

fn columns(names: Vec<String>, types: &[ColumnType]) -> Vec<ColumnView> {
    let typed = names.into_iter().zip(types);
    typed.map(|(name, ty)| ColumnView { name, ty: ty.name() }).collect()
}

fn found_name(row: &str, path: &Path) -> String {
    format!("{row}.{}", path_name(path))
}

fn path_name(path: &Path) -> String {
    let keys = path.keys.iter().map(|key| format!("->{key}"));
    [path.column.name.to_owned()].into_iter().chain(keys).collect()
}

fn returned_name(item: &Return) -> String {
    match item {
        Return::Held(_, path) => path_name(path),
        Return::Written(column) => column.name.to_owned(),
    }
}

fn constant(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => hex::encode(bytes).into(),
        Value::Uuid(uuid) => uuid.to_string().into(),
        Value::Json(document) => document.clone(),
        Value::TextList(list) => list.clone().into(),
    }
}

fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(text);
        digest.update("\n");
    }
    hex::encode(digest.finalize())
}
