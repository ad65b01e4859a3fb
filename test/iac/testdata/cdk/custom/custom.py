def on_event(event, context):
    if event["RequestType"] == "Delete":
        return {}
    text = event["ResourceProperties"]["Text"]
    return {"PhysicalResourceId": "shout", "Data": {"Shouted": text.upper()}}
