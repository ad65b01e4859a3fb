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
