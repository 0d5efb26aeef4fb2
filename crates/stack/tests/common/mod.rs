//! A region that holds nothing, for tests of templates.

use std::collections::BTreeMap;

use atoll_stack::surroundings::Pseudo;
use atoll_stack::{Plan, Surroundings, Template, TemplateError};

pub struct Empty;

impl Surroundings for Empty {
    fn zones(&self, region: &str) -> Option<Vec<String>> {
        matches!(region, "us-east-1" | "eu-west-1")
            .then(|| ["a", "b", "c"].iter().map(|z| format!("{region}{z}")).collect())
    }

    fn default_image(&self) -> String {
        "ami-0a70110000000001".to_owned()
    }

    fn export(&self, name: &str) -> Option<String> {
        (name == "shared-vpc").then(|| "vpc-0123456789abcdef0".to_owned())
    }

    fn all(&self, parameter_type: &str) -> Option<Vec<String>> {
        (parameter_type == "AWS::EC2::VPC::Id")
            .then(|| vec!["vpc-11111111".to_owned(), "vpc-22222222".to_owned()])
    }

    fn value_of(&self, _: &str, id: &str, attribute: &str) -> Option<String> {
        (attribute == "Tags.Name").then(|| format!("name-of-{id}"))
    }
}

pub fn pseudo() -> Pseudo {
    Pseudo {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        stack_name: "blog".to_owned(),
        stack_id:
            "arn:aws:cloudformation:us-east-1:123456789012:stack/blog/00000000-0000-4000-8000-000000000001"
                .to_owned(),
        notification_arns: Vec::new(),
    }
}

pub fn plan(text: &str, parameters: &[(&str, &str)]) -> Result<Plan, TemplateError> {
    let given: BTreeMap<String, String> = parameters
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Plan::new(Template::parse(text)?, &given, pseudo(), &Empty)
}
