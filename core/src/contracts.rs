//! stub
#[derive(Clone,Debug,PartialEq,Eq)] pub struct EdgeSnapshot;
