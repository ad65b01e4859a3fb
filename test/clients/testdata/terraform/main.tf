# Everything that people manage of Lambda, IAM, CloudWatch Logs and S3, each resource at least once. What changes in the
# second step is a variable.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_metadata_api_check = true
  default_tags {
    tags = { managed = "terraform" }
  }
}

variable "n" {
  description = "1, then 2"
  type        = number
  default     = 1
}

data "aws_caller_identity" "me" {}
data "aws_region" "here" {}
data "aws_partition" "this" {}

locals {
  second  = var.n == 2
  account = data.aws_caller_identity.me.account_id
  lambda  = "arn:${data.aws_partition.this.partition}:lambda:${data.aws_region.here.name}:${local.account}"
  queue   = "arn:${data.aws_partition.this.partition}:sqs:${data.aws_region.here.name}:${local.account}:queue"
}

resource "aws_ssm_parameter" "said" {
  name        = "/app/said"
  type        = local.second ? "StringList" : "String"
  value       = "number,${var.n}"
  description = "what is said"
  tags        = { n = var.n }
}

data "aws_ssm_parameter" "said" { name = aws_ssm_parameter.said.name }

resource "aws_cloudformation_stack" "inner" {
  name       = "inner"
  parameters = { Said = data.aws_ssm_parameter.said.insecure_value }
  template_body = jsonencode({
    Parameters = { Said = { Type = "String" } }
    Resources  = { Inner = { Type = "AWS::SSM::Parameter", Properties = { Type = "String", Value = { Ref = "Said" } } } }
    Outputs    = { Name = { Value = { Ref = "Inner" } } }
  })
  tags = { n = var.n }
}

output "stack" { value = aws_cloudformation_stack.inner.parameters.Said }
