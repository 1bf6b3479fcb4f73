//! The texts that a backend sends for a plan or a query, with their parameters.

use ff_catalogue::Call;
use ff_codegen::dialect::Dialect;
use ff_codegen::{
    Arity, Bind, BindSource, Fused, Param, RenderError, Rendered, Script, ScriptStep,
};
use ff_core::plan::value::ColumnType;
use serde::Serialize;

/// All texts, in the order in which they are sent.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    /// Begins the transaction of a plan that is alone in it; absent for a plan of one statement.
    begin: Option<&'static str>,
    /// The texts that are sent once.
    once: Vec<TextView>,
    /// The texts that are sent for each picked row.
    each: Vec<TextView>,
    /// The text that is sent after a refusal, to tell its reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    if_refused: Option<TextView>,
    /// Ends the transaction.
    commit: Option<&'static str>,
}

/// One text: one trip to the database.
#[derive(Debug, Serialize)]
struct TextView {
    sql: String,
    statements: Vec<StatementView>,
}

/// One statement of a text.
#[derive(Debug, Serialize)]
struct StatementView {
    purpose: Purpose,
    /// The parameter of each placeholder.
    binds: Vec<BindView>,
    /// The type of each result column.
    yields: Vec<&'static str>,
}

/// The purpose of a statement.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    /// The whole plan: each result row is one plan that applied, its ordinal first.
    Plan,
    /// A read.
    Query,
    /// A select that must find a row.
    Guard,
    /// A select of the rows to work on.
    Pick,
    /// A write.
    Write,
    /// A write that must change a row.
    WriteThatMustChangeARow,
}

/// One parameter.
#[derive(Debug, Serialize)]
struct BindView {
    #[serde(flatten)]
    source: SourceView,
    /// The logical type of the value.
    #[serde(rename = "type")]
    ty: &'static str,
    /// The type that the database knows it by.
    sql_type: String,
}

/// The source of a bound value.
#[derive(Debug, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
enum SourceView {
    /// The n-th value of the plan or query, from 0.
    Value { number: usize },
    /// An array of the n-th value of each plan in the statement.
    ValueOfEachPlan { number: usize },
    /// A column of a row that an earlier statement found, or a member of its document.
    Found { row: String, column: String, keys: Vec<String> },
    /// The number of rows that an earlier statement picked.
    PickedCount,
    /// The sum of a column over those rows.
    PickedSum { column: String },
}

impl Sent {
    /// Renders the plan or the query.
    pub(super) fn new(call: &Call, dialect: &dyn Dialect) -> Result<Self, RenderError> {
        match call {
            Call::Query(query) => {
                let statement = ff_codegen::query(dialect, &query.clone().into_shape().0)?;
                let binds = statement.binds.iter().map(|bind| BindView::new(dialect, bind));
                let statements = vec![StatementView {
                    purpose: Purpose::Query,
                    binds: binds.collect(),
                    yields: names(&statement.yields),
                }];
                Ok(Self::one(TextView { sql: statement.sql, statements }))
            }
            Call::Plan(plan) => match ff_codegen::render(dialect, &plan.shape())? {
                Rendered::Fused(fused) => Ok(Self::one(TextView::of_fused(dialect, fused)?)),
                Rendered::Script(script) => Ok(Self::of_script(dialect, &script)),
            },
        }
    }

    fn one(text: TextView) -> Self {
        Self { begin: None, once: vec![text], each: Vec::new(), if_refused: None, commit: None }
    }

    fn of_script(dialect: &dyn Dialect, script: &Script) -> Self {
        let control = dialect.transaction_control();
        let texts = |steps: &[ScriptStep]| {
            steps.iter().map(|step| TextView::of_step(dialect, step)).collect()
        };
        Self {
            begin: Some(control.begin),
            once: texts(&script.once),
            each: texts(&script.each),
            if_refused: script.prevents.as_ref().map(|step| TextView::of_step(dialect, step)),
            commit: Some(control.commit),
        }
    }

    /// The texts as people read them.
    pub(super) fn text(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.begin.map(|begin| format!("{begin};")));
        lines.extend(self.once.iter().map(TextView::text));

        if !self.each.is_empty() {
            lines.push("-- for each picked row".to_owned());
            lines.extend(self.each.iter().map(TextView::text));
        }
        if let Some(text) = &self.if_refused {
            lines.push("-- after a refusal".to_owned());
            lines.push(text.text());
        }
        lines.extend(self.commit.map(|commit| format!("{commit};")));
        lines.join("\n")
    }
}

impl TextView {
    fn of_fused(dialect: &dyn Dialect, fused: Fused) -> Result<Self, RenderError> {
        let binds = fused.params.iter().map(|param| BindView::of_param(dialect, *param));
        let statements = vec![StatementView {
            purpose: Purpose::Plan,
            binds: binds.collect::<Result<_, _>>()?,
            yields: names(&fused.yields),
        }];
        Ok(Self { sql: fused.sql, statements })
    }

    fn of_step(dialect: &dyn Dialect, step: &ScriptStep) -> Self {
        let statement = step.statement();
        let view = StatementView {
            purpose: Purpose::of(step),
            binds: statement.binds.iter().map(|bind| BindView::new(dialect, bind)).collect(),
            yields: names(&statement.yields),
        };
        Self { sql: statement.sql.clone(), statements: vec![view] }
    }

    /// The text, behind a comment for a statement of a script.
    fn text(&self) -> String {
        let purposes = self.statements.iter().filter_map(|statement| statement.purpose.words());
        match purposes.collect::<Vec<_>>().join(", ") {
            purposes if purposes.is_empty() => format!("{};", self.sql),
            purposes => format!("-- {purposes}\n{};", self.sql),
        }
    }
}

impl Purpose {
    fn of(step: &ScriptStep) -> Self {
        match step {
            ScriptStep::Guard { .. } => Purpose::Guard,
            ScriptStep::Pick { .. } => Purpose::Pick,
            ScriptStep::Write { must_write: false, .. } => Purpose::Write,
            ScriptStep::Write { must_write: true, .. } => Purpose::WriteThatMustChangeARow,
        }
    }

    /// The purpose in words, for a statement of a script.
    fn words(self) -> Option<&'static str> {
        match self {
            Purpose::Plan | Purpose::Query => None,
            Purpose::Guard => Some("a guard that must find a row"),
            Purpose::Pick => Some("a pick"),
            Purpose::Write => Some("a write"),
            Purpose::WriteThatMustChangeARow => Some("a write that must change a row"),
        }
    }
}

impl BindView {
    fn new(dialect: &dyn Dialect, bind: &Bind) -> Self {
        let source = match &bind.source {
            BindSource::Slot(number) => SourceView::Value { number: *number },
            BindSource::Held(row, path) => SourceView::Found {
                row: row.to_string(),
                column: format!("{}.{}", path.column.table, path.column.name),
                keys: path.keys.iter().map(ToString::to_string).collect(),
            },
            BindSource::PickedCount => SourceView::PickedCount,
            BindSource::PickedSum(path) => SourceView::PickedSum {
                column: format!("{}.{}", path.column.table, path.column.name),
            },
        };
        let sql_type = dialect.type_name(bind.ty).to_owned();
        Self { source, ty: bind.ty.name(), sql_type }
    }

    fn of_param(dialect: &dyn Dialect, param: Param) -> Result<Self, RenderError> {
        let number = param.slot;
        let (source, sql_type) = match param.arity {
            Arity::Once | Arity::Least => {
                (SourceView::Value { number }, dialect.type_name(param.ty))
            }
            Arity::Each => {
                (SourceView::ValueOfEachPlan { number }, dialect.array_type(param.ty)?.array)
            }
        };
        Ok(Self { source, ty: param.ty.name(), sql_type: sql_type.to_owned() })
    }
}

/// The words for types, as in the catalogue that `ff sql --all` prints.
fn names(types: &[ColumnType]) -> Vec<&'static str> {
    types.iter().map(|ty| ty.name()).collect()
}
