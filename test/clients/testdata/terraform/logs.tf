resource "aws_cloudwatch_log_group" "kept" {
  name              = "/aws/lambda/terraformed"
  retention_in_days = local.second ? 0 : 7 # 0 is without
  kms_key_id        = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000000"
  tags              = { team = "a", n = var.n }
}

resource "aws_cloudwatch_log_group" "skipped" {
  name              = "left/behind"
  log_group_class   = "INFREQUENT_ACCESS"
  retention_in_days = 30 * var.n
  skip_destroy      = true
}

resource "aws_cloudwatch_log_stream" "one" {
  name           = "one"
  log_group_name = aws_cloudwatch_log_group.kept.name
}

data "aws_cloudwatch_log_group" "kept" { name = aws_cloudwatch_log_group.kept.name }

data "aws_cloudwatch_log_groups" "all" {
  log_group_name_prefix = "left"
  depends_on            = [aws_cloudwatch_log_group.kept, aws_cloudwatch_log_group.skipped]
}

output "logs" {
  value = {
    arn  = data.aws_cloudwatch_log_group.kept.arn
    left = sort(data.aws_cloudwatch_log_groups.all.log_group_names)
  }
}
