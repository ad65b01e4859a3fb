resource "aws_s3_bucket" "code" {
  bucket        = "code"
  force_destroy = true
  tags          = { n = var.n }
}

resource "aws_s3_bucket_versioning" "code" {
  bucket = aws_s3_bucket.code.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_object" "layer" {
  bucket      = aws_s3_bucket_versioning.code.bucket
  key         = "layers/layer.zip"
  source      = "layer${var.n}.zip"
  source_hash = filemd5("layer${var.n}.zip")
  tags        = { n = var.n }
}

resource "aws_s3_object" "code" {
  bucket = aws_s3_bucket_versioning.code.bucket
  key    = "app.zip"
  source = "app${var.n}.zip"
  etag   = filemd5("app${var.n}.zip")
}

resource "aws_s3_object" "text" {
  bucket        = aws_s3_bucket_versioning.code.bucket
  key           = "dir/a text, with odd characters: ü+&.txt"
  content       = "number ${var.n}"
  content_type  = "text/plain; charset=utf-8"
  cache_control = "max-age=${var.n}"
  metadata      = { n = var.n }
}

resource "aws_s3_bucket_public_access_block" "code" {
  bucket                  = aws_s3_bucket.code.id
  block_public_acls       = true
  block_public_policy     = local.second
  ignore_public_acls      = true
  restrict_public_buckets = local.second
}

data "aws_iam_policy_document" "bucket" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.code.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.app.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [var.n == 2 ? local.account : "111122223333"]
    }
  }
}

resource "aws_s3_bucket_policy" "code" {
  bucket = aws_s3_bucket.code.id
  policy = data.aws_iam_policy_document.bucket.json
}

resource "aws_s3_bucket_notification" "code" {
  bucket = aws_s3_bucket.code.id
  lambda_function {
    id                  = "uploads"
    lambda_function_arn = aws_lambda_function.plain.arn
    events              = local.second ? ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] : ["s3:ObjectCreated:*"]
    filter_prefix       = "in/"
    filter_suffix       = ".zip"
  }
  depends_on = [aws_lambda_permission.bucket]
}

data "aws_s3_bucket" "code" { bucket = aws_s3_bucket.code.id }

data "aws_s3_object" "text" {
  bucket = aws_s3_object.text.bucket
  key    = aws_s3_object.text.key
}

data "aws_s3_objects" "all" {
  bucket     = aws_s3_bucket.code.id
  prefix     = "dir/"
  depends_on = [aws_s3_object.text]
}

data "aws_s3_bucket_policy" "code" {
  bucket = aws_s3_bucket_policy.code.bucket
}

output "s3" {
  value = {
    region = data.aws_s3_bucket.code.region
    text   = data.aws_s3_object.text.body
    keys   = data.aws_s3_objects.all.keys
    policy = jsondecode(data.aws_s3_bucket_policy.code.policy).Statement[0].Action
  }
}
