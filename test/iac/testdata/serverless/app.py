import os

import words


def handler(event, context):
    return {"text": words.greet(os.environ["GREETING"], event["who"]), "version": context.function_version}
