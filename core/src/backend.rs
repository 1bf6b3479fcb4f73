//! stub
use serde::{Serialize,Deserialize};
#[derive(Clone,Copy,Debug,PartialEq,Eq,Hash,Serialize,Deserialize)] #[non_exhaustive] pub enum BackendTag{Valkey,Postgres,Sqlite,Memory}
impl BackendTag{ pub const fn wire_byte(self)->u8{1} pub const fn from_wire_byte(_:u8)->Option<Self>{None}}
#[derive(Clone,Debug,PartialEq,Eq,Hash,Serialize,Deserialize)] pub struct HandleOpaque(Box<[u8]>);
impl HandleOpaque{pub fn new(b:Box<[u8]>)->Self{Self(b)} pub fn as_bytes(&self)->&[u8]{&self.0}}
#[derive(Clone,Debug)] pub enum PrepareOutcome{NoOp}
pub struct ScannerFilter;
pub struct CapabilitySet{pub tokens:Vec<String>}
impl CapabilitySet{ pub fn new<I,S>(i:I)->Self where I:IntoIterator<Item=S>,S:Into<String>{Self{tokens:i.into_iter().map(Into::into).collect()}} pub fn is_empty(&self)->bool{self.tokens.is_empty()}}
