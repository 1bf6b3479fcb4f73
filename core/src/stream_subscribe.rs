//! stub
#[derive(Clone,Debug,PartialEq,Eq)] pub struct StreamCursor;
