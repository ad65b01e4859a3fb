"""Answers each line of input, a request {template, parameters, region}, with what AWS's translator makes of it."""

import copy
import json
import logging
import os
import sys

os.environ["AWS_DEFAULT_REGION"] = "us-east-1"

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.policy_template_processor.processor import PolicyTemplatesProcessor
from samtranslator.translator.arn_generator import ArnGenerator
from samtranslator.translator.translator import Translator

logging.disable(logging.CRITICAL)
sessions = {}
# Its own policy templates follow its own schema; to check that takes longer than all else together.
PolicyTemplatesProcessor._is_valid_templates_dict = staticmethod(lambda *_: True)

for line in sys.stdin:
    request = json.loads(line)
    region = request["region"]
    if region not in sessions:
        sessions[region] = boto3.Session(region_name=region)
    ArnGenerator.BOTO_SESSION_REGION_NAME = region
    try:
        made = Translator(None, Parser(), boto_session=sessions[region]).translate(
            request["template"], parameter_values=copy.deepcopy(request["parameters"])
        )
        answer = {"template": made}
    except InvalidDocumentException as e:
        answer = {"error": " ".join([e.message] + [cause.message for cause in e.causes])}
    except Exception as e:  # what the service calls an internal failure
        answer = {"broken": repr(e)}
    print(json.dumps(answer), flush=True)
