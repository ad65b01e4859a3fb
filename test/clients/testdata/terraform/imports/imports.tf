# What is forgotten and imported again. Functions, buckets, objects, permissions of layers and runtime management are not
# among it: of those the provider does not read everything that it compares, here as at AWS.

resource "aws_lambda_layer_version" "imported" { # which skip_destroy has left
  layer_name  = "kept"
  description = "version 1"
  lifecycle {
    ignore_changes = [filename, skip_destroy]
  }
}

import {
  to = aws_lambda_layer_version.imported
  id = "${local.lambda}:layer:kept:1"
}

import {
  to = aws_lambda_alias.live
  id = "full/live"
}

import {
  to = aws_lambda_permission.events
  id = "full:live/events"
}

import {
  to = aws_lambda_function_url.live
  id = "full/live"
}

import {
  to = aws_lambda_function_event_invoke_config.live
  id = "full:live"
}

import {
  to = aws_lambda_provisioned_concurrency_config.ready
  id = "full,ready"
}

import {
  to = aws_lambda_function_recursion_config.plain
  id = "plain"
}

import {
  to = aws_iam_role.app
  id = "app"
}

import {
  to = aws_iam_role_policy.inline
  id = "app:inline"
}

import {
  to = aws_iam_role_policy_attachment.own
  id = "app/arn:aws:iam::${local.account}:policy/team/logs"
}

import {
  to = aws_iam_policy.logs
  id = "arn:aws:iam::${local.account}:policy/team/logs"
}

import {
  to = aws_iam_instance_profile.app
  id = "app"
}

import {
  to = aws_iam_group.devs
  id = "devs"
}

import {
  to = aws_iam_user_policy.inline
  id = "ann:inline"
}

import {
  to = aws_iam_group_policy.inline
  id = "devs:inline"
}

import {
  to = aws_iam_account_alias.alias
  id = "lamina-tests"
}

import {
  to = aws_iam_service_linked_role.lambda
  id = "arn:aws:iam::${local.account}:role/aws-service-role/lambda.amazonaws.com/AWSServiceRoleForLambda"
}

import {
  to = aws_cloudwatch_log_group.kept
  id = "/aws/lambda/terraformed"
}

import {
  to = aws_s3_bucket_versioning.code
  id = "code"
}

import {
  to = aws_s3_bucket_public_access_block.code
  id = "code"
}

import {
  to = aws_s3_bucket_policy.code
  id = "code"
}

import {
  to = aws_s3_bucket_notification.code
  id = "code"
}
