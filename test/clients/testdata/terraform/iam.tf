data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [local.account]
    }
  }
}

data "aws_iam_policy_document" "logs" {
  statement {
    sid       = "v${var.n}"
    actions   = ["logs:PutLogEvents"]
    resources = ["*"]
  }
}

data "aws_iam_policy" "basic" { name = "AWSLambdaBasicExecutionRole" }

resource "aws_iam_policy" "logs" {
  name        = "logs"
  path        = "/team/"
  description = "write logs"
  policy      = data.aws_iam_policy_document.logs.json
  tags        = { team = "a" }
}

resource "aws_iam_role" "app" {
  name                 = "app"
  path                 = "/team/"
  description          = "of the app"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 7200
  permissions_boundary = aws_iam_policy.logs.arn
  tags                 = { team = "a", text = "v${var.n}" }
}

resource "aws_iam_role_policy" "inline" {
  name   = "inline"
  role   = aws_iam_role.app.id
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_role_policy_attachment" "own" {
  role       = aws_iam_role.app.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_role_policy_attachment" "basic" {
  role       = aws_iam_role.app.name
  policy_arn = data.aws_iam_policy.basic.arn
}

resource "aws_iam_instance_profile" "app" {
  name = "app"
  role = aws_iam_role.app.name
  tags = { team = "a" }
}

resource "aws_iam_user" "ann" {
  name                 = "ann"
  path                 = local.second ? "/other/" : "/team/"
  force_destroy        = true
  permissions_boundary = aws_iam_policy.logs.arn
  tags                 = { team = "a" }
}

resource "aws_iam_user_policy" "inline" {
  name   = "inline"
  user   = aws_iam_user.ann.name
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_user_policy_attachment" "own" {
  user       = aws_iam_user.ann.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_access_key" "ann" {
  user   = aws_iam_user.ann.name
  status = "Active"
}

resource "aws_iam_group" "devs" {
  name = "devs"
  path = "/team/"
}

resource "aws_iam_group_policy" "inline" {
  name   = "inline"
  group  = aws_iam_group.devs.name
  policy = data.aws_iam_policy_document.logs.json
}

resource "aws_iam_group_policy_attachment" "own" {
  group      = aws_iam_group.devs.name
  policy_arn = aws_iam_policy.logs.arn
}

resource "aws_iam_group_membership" "devs" {
  name  = "devs"
  group = aws_iam_group.devs.name
  users = [aws_iam_user.ann.name]
}

resource "aws_iam_group" "ops" {
  name = "ops"
}

resource "aws_iam_user_group_membership" "ops" {
  user       = aws_iam_user.ann.name
  groups     = [aws_iam_group.ops.name]
  depends_on = [aws_iam_group_membership.devs]
}

resource "aws_iam_account_alias" "alias" {
  account_alias = "lamina-tests"
}

resource "aws_iam_service_linked_role" "lambda" {
  aws_service_name = "lambda.amazonaws.com"
}

output "key" {
  value = aws_iam_access_key.ann.id
}
output "secret" {
  value     = aws_iam_access_key.ann.secret
  sensitive = true
}

resource "aws_iam_policy_attachment" "everywhere" {
  name       = "everywhere"
  policy_arn = aws_iam_policy.attached.arn
  users      = [aws_iam_user.ann.name]
  roles      = [aws_iam_role.app.name]
  groups     = local.second ? [aws_iam_group.ops.name] : []
}

resource "aws_iam_policy" "attached" {
  name_prefix = "attached-"
  policy      = data.aws_iam_policy_document.logs.json
}

data "aws_iam_role" "app" { name = aws_iam_role.app.name }
data "aws_iam_instance_profile" "app" { name = aws_iam_instance_profile.app.name }
data "aws_iam_policy" "logs" { arn = aws_iam_policy.logs.arn }
data "aws_iam_account_alias" "alias" { depends_on = [aws_iam_account_alias.alias] }
data "aws_iam_session_context" "me" { arn = data.aws_caller_identity.me.arn }
data "aws_iam_group" "devs" { group_name = aws_iam_group_membership.devs.group }

data "aws_iam_user" "ann" {
  user_name  = aws_iam_user.ann.name
  depends_on = [aws_iam_user.ann]
}

data "aws_iam_roles" "all" {
  path_prefix = "/team/"
  depends_on  = [aws_iam_role.app]
}

data "aws_iam_users" "all" {
  path_prefix = local.second ? "/other/" : "/team/"
  depends_on  = [aws_iam_user.ann]
}

data "aws_iam_access_keys" "ann" {
  user       = aws_iam_user.ann.name
  depends_on = [aws_iam_access_key.ann]
}

output "iam" {
  value = {
    role    = data.aws_iam_role.app.arn
    roles   = data.aws_iam_roles.all.names
    user    = data.aws_iam_user.ann.user_name
    users   = data.aws_iam_users.all.names
    profile = data.aws_iam_instance_profile.app.role_arn == aws_iam_role.app.arn
    policy  = jsondecode(data.aws_iam_policy.logs.policy).Statement[0].Sid
    alias   = data.aws_iam_account_alias.alias.account_alias
    issuer  = data.aws_iam_session_context.me.issuer_arn
    members = [for u in data.aws_iam_group.devs.users : u.user_name]
    keys    = [for k in data.aws_iam_access_keys.ann.access_keys : k.status]
  }
}
