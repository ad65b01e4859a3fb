resource "aws_lambda_layer_version" "file" {
  layer_name               = "file"
  filename                 = "layer${var.n}.zip"
  source_code_hash         = filebase64sha256("layer${var.n}.zip")
  description              = "from a file"
  license_info             = "Apache-2.0"
  compatible_runtimes      = ["python3.11", "python3.12"]
  compatible_architectures = ["x86_64", "arm64"]
}

resource "aws_lambda_layer_version" "kept" {
  layer_name   = "kept"
  filename     = "layer1.zip"
  description  = "version ${var.n}" # forces another version
  skip_destroy = true
}

resource "aws_lambda_layer_version" "object" {
  layer_name        = "object"
  s3_bucket         = aws_s3_object.layer.bucket
  s3_key            = aws_s3_object.layer.key
  s3_object_version = aws_s3_object.layer.version_id
  source_code_hash  = filebase64sha256("layer${var.n}.zip")
}

resource "aws_lambda_layer_version_permission" "account" {
  layer_name     = aws_lambda_layer_version.kept.layer_name
  version_number = aws_lambda_layer_version.kept.version
  statement_id   = "one"
  action         = "lambda:GetLayerVersion"
  principal      = "111122223333"
}

# Another layer, since the provider reads the first statement whatever its name.
resource "aws_lambda_layer_version_permission" "organization" {
  layer_name      = aws_lambda_layer_version.file.layer_arn
  version_number  = aws_lambda_layer_version.file.version
  statement_id    = "all"
  action          = "lambda:GetLayerVersion"
  principal       = "*"
  organization_id = "o-0123456789"
  skip_destroy    = true
}

resource "aws_lambda_function" "full" {
  function_name                  = "full"
  description                    = "number ${var.n}"
  role                           = aws_iam_role.app.arn
  handler                        = "app.handler"
  runtime                        = "python3.11"
  filename                       = "app${var.n}.zip"
  source_code_hash               = filebase64sha256("app${var.n}.zip")
  memory_size                    = local.second ? 256 : 128
  timeout                        = local.second ? 30 : 3
  publish                        = true
  layers                         = [aws_lambda_layer_version.file.arn, aws_lambda_layer_version.object.arn]
  architectures                  = ["x86_64"]
  reserved_concurrent_executions = 2 + var.n
  kms_key_arn                    = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000000"

  environment {
    variables = { GREETING = "hello", NUMBER = var.n }
  }
  dead_letter_config {
    target_arn = local.queue
  }
  tracing_config {
    mode = local.second ? "PassThrough" : "Active"
  }
  ephemeral_storage {
    size = 512 * var.n
  }
  vpc_config {
    subnet_ids         = []
    security_group_ids = []
  }
  logging_config {
    log_format            = "JSON"
    application_log_level = local.second ? "WARN" : "DEBUG"
    system_log_level      = "INFO"
    log_group             = aws_cloudwatch_log_group.kept.name
  }
  timeouts {
    create = "2m"
    update = "2m"
    delete = "2m"
  }
  tags = { team = "a", n = var.n }
}

# The other values, and none of most.
resource "aws_lambda_function" "plain" {
  function_name    = "plain"
  role             = aws_iam_role.app.arn
  handler          = "app.handler"
  runtime          = local.second ? "python3.11" : "python3.12"
  s3_bucket        = aws_s3_object.code.bucket
  s3_key           = aws_s3_object.code.key
  source_code_hash = filebase64sha256("app${var.n}.zip")
  skip_destroy     = false

  dynamic "environment" { # goes
    for_each = local.second ? [] : [1]
    content {
      variables = { GREETING = "bye" }
    }
  }
  dynamic "dead_letter_config" { # goes
    for_each = local.second ? [] : [1]
    content {
      target_arn = local.queue
    }
  }
}

resource "aws_lambda_function" "image" {
  function_name = "image"
  role          = aws_iam_role.app.arn
  package_type  = "Image"
  image_uri     = "000000000000.dkr.ecr.eu-central-1.amazonaws.com/app:v${var.n}"
  architectures = ["arm64"]
  image_config {
    command           = ["app.handler${var.n}"]
    entry_point       = ["/entry", "point"]
    working_directory = "/srv"
  }
}

resource "aws_lambda_function" "snap" {
  function_name = "snap"
  role          = aws_iam_role.app.arn
  handler       = "app.handler"
  runtime       = "python3.12"
  filename      = "app1.zip"
  description   = "number ${var.n}"
  publish       = true
  snap_start {
    apply_on = "PublishedVersions"
  }
}

resource "aws_lambda_function" "signed" {
  function_name           = "signed"
  role                    = aws_iam_role.app.arn
  handler                 = "app.handler"
  runtime                 = "python3.11"
  filename                = "app1.zip"
  code_signing_config_arn = local.second ? aws_lambda_code_signing_config.warns.arn : null
}

resource "aws_lambda_code_signing_config" "warns" {
  description = "number ${var.n}"
  allowed_publishers {
    signing_profile_version_arns = ["arn:aws:signer:eu-central-1:000000000000:/signing-profiles/me/0123456789"]
  }
  policies {
    untrusted_artifact_on_deployment = "Warn"
  }
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "number ${var.n}"
  function_name    = aws_lambda_function.full.arn
  function_version = aws_lambda_function.full.version
  dynamic "routing_config" {
    for_each = local.second ? [1] : []
    content {
      additional_version_weights = { "1" = 0.25 }
    }
  }
}

resource "aws_lambda_alias" "ready" {
  name             = "ready"
  function_name    = aws_lambda_function.full.function_name
  function_version = "1"
}

resource "aws_lambda_permission" "events" {
  statement_id   = "events"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.full.function_name
  qualifier      = aws_lambda_alias.live.name
  principal      = "events.amazonaws.com"
  source_arn     = "arn:aws:events:eu-central-1:000000000000:rule/${var.n}"
  source_account = local.account
}

resource "aws_lambda_permission" "url" {
  statement_id_prefix    = "url-"
  action                 = "lambda:InvokeFunctionUrl"
  function_name          = aws_lambda_function.full.arn
  principal              = "*"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "role" {
  action           = "lambda:InvokeFunction"
  function_name    = aws_lambda_function.plain.function_name
  principal        = aws_iam_role.app.arn
  principal_org_id = "o-0123456789"
}

resource "aws_lambda_permission" "bucket" {
  statement_id  = "bucket"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.plain.arn
  principal     = "s3.amazonaws.com"
  source_arn    = aws_s3_bucket.code.arn
}

resource "aws_lambda_function_url" "live" {
  function_name      = aws_lambda_function.full.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = local.second ? "AWS_IAM" : "NONE"
  invoke_mode        = local.second ? "RESPONSE_STREAM" : "BUFFERED"
  cors {
    allow_credentials = true
    allow_headers     = ["date", "keep-alive"]
    allow_methods     = ["GET", "POST"]
    allow_origins     = ["https://example.com"]
    expose_headers    = ["keep-alive"]
    max_age           = 100 * var.n
  }
}

resource "aws_lambda_function_url" "plain" {
  function_name      = aws_lambda_function.plain.arn
  authorization_type = "NONE"
}

resource "aws_lambda_function_event_invoke_config" "live" {
  function_name                = aws_lambda_function.full.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_event_age_in_seconds = 60 * var.n
  maximum_retry_attempts       = local.second ? 0 : 2
  destination_config {
    on_failure {
      destination = local.queue
    }
    dynamic "on_success" {
      for_each = local.second ? [] : [1]
      content {
        destination = aws_lambda_function.plain.arn
      }
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "plain" {
  function_name          = aws_lambda_function.plain.arn
  maximum_retry_attempts = 1
}

resource "aws_lambda_provisioned_concurrency_config" "ready" {
  function_name                     = aws_lambda_function.full.function_name
  qualifier                         = aws_lambda_alias.ready.name
  provisioned_concurrent_executions = var.n
}

resource "aws_lambda_event_source_mapping" "queue" {
  event_source_arn                   = local.queue
  function_name                      = aws_lambda_alias.live.arn
  batch_size                         = 10 * var.n
  maximum_batching_window_in_seconds = 5
  function_response_types            = ["ReportBatchItemFailures"]
  enabled                            = local.second
  filter_criteria {
    filter {
      pattern = jsonencode({ body = { n = [var.n] } })
    }
  }
  scaling_config {
    maximum_concurrency = 1 + var.n
  }
  tags = { n = var.n }
}

resource "aws_lambda_event_source_mapping" "stream" {
  event_source_arn                   = "arn:aws:kinesis:eu-central-1:000000000000:stream/stream"
  function_name                      = aws_lambda_function.plain.function_name
  starting_position                  = "LATEST"
  bisect_batch_on_function_error     = local.second
  maximum_retry_attempts             = var.n
  maximum_record_age_in_seconds      = 60 * var.n
  parallelization_factor             = var.n
  maximum_batching_window_in_seconds = var.n
  tumbling_window_in_seconds         = 30
  destination_config {
    on_failure {
      destination_arn = local.queue
    }
  }
}

resource "aws_lambda_runtime_management_config" "plain" {
  function_name       = aws_lambda_function.plain.function_name
  update_runtime_on   = local.second ? "Manual" : "FunctionUpdate"
  runtime_version_arn = local.second ? "arn:aws:lambda:eu-central-1::runtime:0000000000000000000000000000000000000000000000000000000000000000" : null
}

resource "aws_lambda_function_recursion_config" "plain" {
  function_name  = aws_lambda_function.plain.function_name
  recursive_loop = local.second ? "Terminate" : "Allow"
}

resource "aws_lambda_invocation" "full" {
  function_name = aws_lambda_function.full.function_name
  qualifier     = aws_lambda_function.full.version
  input         = jsonencode({ n = var.n })
}

data "aws_lambda_function" "full" {
  function_name = aws_lambda_function.full.function_name
  qualifier     = aws_lambda_alias.live.name
}

data "aws_lambda_functions" "all" {
  depends_on = [aws_lambda_function.full, aws_lambda_function.plain, aws_lambda_function.image, aws_lambda_function.snap, aws_lambda_function.signed]
}

data "aws_lambda_alias" "live" {
  function_name = aws_lambda_alias.live.function_name
  name          = aws_lambda_alias.live.name
}

data "aws_lambda_layer_version" "file" {
  layer_name         = aws_lambda_layer_version.file.layer_name
  compatible_runtime = "python3.12"
}

data "aws_lambda_function_url" "live" {
  function_name = aws_lambda_function_url.live.function_name
  qualifier     = aws_lambda_function_url.live.qualifier
}

data "aws_lambda_code_signing_config" "warns" {
  arn = aws_lambda_code_signing_config.warns.arn
}

data "aws_lambda_invocation" "full" {
  function_name = aws_lambda_function.full.function_name
  qualifier     = aws_lambda_function.full.version
  input         = jsonencode({ n = var.n })
}

output "lambda" {
  value = {
    functions = sort(data.aws_lambda_functions.all.function_names)
    version   = data.aws_lambda_function.full.version
    sha       = data.aws_lambda_function.full.code_sha256 == filebase64sha256("app${var.n}.zip")
    alias     = data.aws_lambda_alias.live.function_version
    invoke    = data.aws_lambda_alias.live.invoke_arn == aws_lambda_alias.live.invoke_arn
    layer     = data.aws_lambda_layer_version.file.version
    layer_sha = data.aws_lambda_layer_version.file.code_sha256 == filebase64sha256("layer${var.n}.zip")
    object    = aws_lambda_layer_version.object.version
    url       = data.aws_lambda_function_url.live.function_url == aws_lambda_function_url.live.function_url
    policy    = data.aws_lambda_code_signing_config.warns.policies[0].untrusted_artifact_on_deployment
    invoked   = jsondecode(aws_lambda_invocation.full.result)
    asked     = jsondecode(data.aws_lambda_invocation.full.result)
    snap      = aws_lambda_function.snap.snap_start[0].optimization_status
  }
}
