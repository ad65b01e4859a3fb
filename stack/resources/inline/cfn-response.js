// Answers CloudFormation from a custom resource whose code is in its template.
const https = require("https");

exports.SUCCESS = "SUCCESS";
exports.FAILED = "FAILED";

exports.send = function (event, context, responseStatus, responseData, physicalResourceId, noEcho) {
	const body = JSON.stringify({
		Status: responseStatus,
		Reason: "See the details in CloudWatch Log Stream: " + context.logStreamName,
		PhysicalResourceId: physicalResourceId || context.logStreamName,
		StackId: event.StackId,
		RequestId: event.RequestId,
		LogicalResourceId: event.LogicalResourceId,
		NoEcho: noEcho || false,
		Data: responseData,
	});
	const url = new URL(event.ResponseURL);
	const client = url.protocol === "http:" ? require("http") : https;
	return new Promise((resolve) => {
		const request = client.request(
			{
				hostname: url.hostname,
				port: url.port || undefined,
				path: url.pathname + url.search,
				method: "PUT",
				headers: { "content-type": "", "content-length": Buffer.byteLength(body) },
			},
			(response) => {
				console.log("Status code: " + response.statusCode);
				response.resume();
				context.done();
				resolve();
			},
		);
		request.on("error", (error) => {
			console.log("send: " + error.message);
			context.done();
			resolve();
		});
		request.end(body);
	});
};
