# frozen_string_literal: true

# Lamina's runtime client for Ruby 2.7 and later.
#
# It runs inside the sandbox: it requires the function's file, then asks the
# Runtime API for invocations and answers them, one at a time, over one kept
# connection. It speaks HTTP on a bare socket, because net/http would take a cold
# start longer than all the rest, and sends each result together with the request
# for the next invocation.
require 'json'
require 'logger'
require 'socket'
require 'stringio'

# LambdaContext is what a handler gets besides its event.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name,
              :memory_limit_in_mb, :function_version, :identity, :client_context, :deadline_ms, :tenant_id

  def initialize(request)
    @deadline_ms = request['Lambda-Runtime-Deadline-Ms'].to_i
    @aws_request_id = request['Lambda-Runtime-Aws-Request-Id']
    @invoked_function_arn = request['Lambda-Runtime-Invoked-Function-Arn']
    @tenant_id = request['Lambda-Runtime-Aws-Tenant-Id']
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
    identity = request['Lambda-Runtime-Cognito-Identity']
    @identity = JSON.parse(identity) if identity
    client = request['Lambda-Runtime-Client-Context']
    @client_context = JSON.parse(client) if client
  end

  def get_remaining_time_in_millis
    [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
  end
end

module AwsLambda
  # Marshaller turns requests into events and results into responses. Functions
  # may redefine both methods.
  class Marshaller
    class << self
      def marshall_request(raw_request)
        return raw_request.body unless raw_request['Content-Type'] == 'application/json'

        JSON.parse(raw_request.body)
      end

      def marshall_response(method_response)
        case method_response
        when StringIO, IO then [method_response, 'application/unknown']
        else method_response.to_json
        end
      end
    end
  end
end

module Lamina
  # Answer is what the Runtime API said: a body, and headers by any case.
  class Answer
    attr_reader :body

    def initialize(headers, body)
      @headers = headers
      @body = body
    end

    def [](name)
      @headers[name.downcase]
    end
  end

  # Connection is one kept connection to the Runtime API.
  class Connection
    API = '/2018-06-01/runtime/'

    def initialize(address)
      host, _, port = address.rpartition(':')
      @host = address
      @socket = Socket.tcp(host, port.to_i)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @buffer = String.new(capacity: 4096, encoding: Encoding::BINARY)
      @next = "#{head('GET', 'invocation/next')}\r\n".b
    end

    def ask
      @socket.write(@next)
    end

    # post sends a body, and with it the request for the next invocation.
    def post(path, body, error_type: nil, content_type: 'application/json', ask: true)
      text = +"#{head('POST', path)}Content-Type: #{content_type.gsub(/[^ -~]/, '?')}\r\nContent-Length: #{body.bytesize}\r\n"
      text << "Lambda-Runtime-Function-Error-Type: #{error_type.gsub(/[^ -~]/, '?')}\r\n" if error_type
      text << "\r\n"
      parts = [text.b, body.b]
      parts << @next if ask
      @socket.write(*parts)
    end

    def receive
      fill until (stop = @buffer.index("\r\n\r\n"))
      headers = {}
      @buffer.slice!(0, stop + 4).force_encoding(Encoding::UTF_8).scrub.split("\r\n").drop(1).each do |line|
        name, value = line.split(':', 2)
        headers[name.downcase] = value.strip
      end
      length = headers['content-length'].to_i
      fill while @buffer.bytesize < length
      Answer.new(headers, @buffer.slice!(0, length).force_encoding(Encoding::UTF_8))
    end

    private

    def head(method, path)
      "#{method} #{API}#{path} HTTP/1.1\r\nHost: #{@host}\r\n"
    end

    def fill
      @buffer << @socket.readpartial(1 << 20)
    rescue EOFError, SystemCallError
      exit!(0) # the Runtime API is gone: nobody waits for an answer
    end
  end

  # Failure is an exception of the function's as its caller and its log see it.
  class Failure
    KNOWN = %w[ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit SystemStackError].freeze

    attr_reader :to_h

    def initialize(error, phase)
      @class = error.class.to_s
      @to_h = { errorMessage: utf8(error.message), errorType: "#{phase}<#{@class}>", stackTrace: trace(error) }
    end

    def header
      KNOWN.include?(@class) ? @to_h[:errorType] : 'Function<UserException>'
    end

    def json
      JSON.generate(@to_h)
    end

    def log(message)
      if Lamina.json_log?
        line = { timestamp: Lamina.stamp(Time.now), level: 'ERROR', message: message, requestId: Lamina.request_id }
        Lamina.log("#{JSON.generate(line.merge(@to_h).compact)}\n")
      else
        Lamina.log("#{message}\n")
        Lamina.log("#{JSON.pretty_generate(@to_h)}\n")
      end
    end

    private

    # trace is the backtrace up to this client's own frames.
    def trace(error)
      own = "#{__FILE__}:"
      lines = (error.backtrace_locations || error.backtrace || []).map(&:to_s)
      lines.take_while { |line| !line.start_with?(own) }.first(100).map { |line| utf8(line) }
    end

    def utf8(text)
      text.to_s.encode('UTF-8', invalid: :replace, undef: :replace)
    end
  end

  # TextFormatter is Logger's format with the request ID in it.
  class TextFormatter < Logger::Formatter
    def call(severity, time, progname, msg)
      text = msg2str(msg).encode('UTF-8', invalid: :replace, undef: :replace)
      "#{severity[0]}, [#{format_datetime(time)} ##{Process.pid}] #{severity.rjust(5)} #{Lamina.request_id} -- #{progname}: #{text}\n"
    end
  end

  # JSONFormatter writes one object a line.
  class JSONFormatter < Logger::Formatter
    def call(severity, time, progname, msg)
      line = { timestamp: Lamina.stamp(time), level: severity, message: utf8(msg.is_a?(Exception) ? msg.message : msg2str(msg)),
               requestId: Lamina.request_id }
      line[:logger] = utf8(progname) unless progname.nil? || progname.to_s.empty?
      if msg.is_a?(Exception)
        frames = Array(msg.backtrace).map { |frame| utf8(frame) }
        line.update(errorType: msg.class.to_s, errorMessage: utf8(msg.message), stackTrace: frames)
        place = frames.first && frames.first.match(/\A(.+):(\d+):in [`'](.+)'\z/)
        line[:location] = place ? "#{place[1]}:#{place[3]}:#{place[2]}" : frames.first
      end
      "#{JSON.generate(line.compact)}\n"
    end

    private

    def utf8(value)
      value.to_s.encode('UTF-8', invalid: :replace, undef: :replace)
    end
  end

  # Frames writes events, of several lines too, to where the platform takes them:
  # a type, the text's length, the time in microseconds, the text.
  class Frames
    def initialize(number)
      @file = IO.new(number, 'wb')
      @file.sync = true
    end

    def write(text)
      text = text.to_s
      time = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
      # In one piece, so that nothing comes between.
      @file.write([0xa55a0003, text.bytesize, time].pack('L>L>Q>') + text.b)
    end

    def reopen(*)
      self
    end

    def close; end
  end

  # ConsoleLogger gives loggers that write to the console the formats above.
  module ConsoleLogger
    LEVELS = { 'TRACE' => 0, 'DEBUG' => 0, 'INFO' => 1, 'WARN' => 2, 'ERROR' => 3, 'FATAL' => 4 }.freeze

    def initialize(device, *args, **options)
      console = device.nil? || device == $stdout || device == $stderr
      level = LEVELS[ENV['AWS_LAMBDA_LOG_LEVEL'].to_s.upcase]
      options[:level] = level if console && level && !options.key?(:level)
      device = Lamina.frames || device || $stdout if console
      super(device, *args, **options)
      @default_formatter = Lamina.json_log? ? JSONFormatter.new : TextFormatter.new if console
    end
  end

  class << self
    attr_accessor :request_id
    attr_reader :frames

    # log writes one event.
    def log(text)
      (@frames || $stdout).write(text)
    end

    def json_log?
      @json_log = ENV['AWS_LAMBDA_LOG_FORMAT'].to_s.casecmp?('JSON') if @json_log.nil?
      @json_log
    end

    def stamp(time)
      time.getutc.strftime('%Y-%m-%dT%H:%M:%S.%6NZ')
    end

    def run
      $stdout.sync = true
      number = ENV.delete('_LAMBDA_TELEMETRY_LOG_FD')
      take_frames(number.to_i) if number
      Logger.prepend(ConsoleLogger)
      root = ENV.fetch('LAMBDA_TASK_ROOT', '/var/task')
      $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
      connection = Connection.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API'))
      begin
        handler = load_handler(ENV.fetch('_HANDLER', ''))
      rescue Exception => e # rubocop:disable Lint/RescueException -- whatever the function's file does is its start's failure
        failure = Failure.new(e, 'Init')
        failure.log("Init error when loading handler #{ENV['_HANDLER']}")
        connection.post('init/error', failure.json, error_type: failure.header, ask: false)
        connection.receive
        exit(252)
      end
      connection.ask
      loop { serve(connection, handler, connection.receive) }
    end

    private

    # take_frames logs through a descriptor from now on, what the function puts too.
    def take_frames(number)
      @frames = Frames.new(number)
      Kernel.module_eval do
        def puts(*args)
          text = args.flatten.map { |a| a.to_s.encode('UTF-8', invalid: :replace, undef: :replace) }.join("\n")
          Lamina.log(text.end_with?("\n") ? text : "#{text}\n")
          nil
        end
        private :puts
      end
    rescue SystemCallError
      # A wrapper closed it.
    end

    # load_handler returns what is to be called, which is looked up at each call.
    def load_handler(name)
      file, *rest = name.split('.')
      method = rest.pop
      if method.nil? || rest.size > 1
        raise ArgumentError, "Invalid handler #{name.split('.')}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME " \
                             'corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and ' \
                             'METHOD is a callable method. If using CLASS, METHOD must be a class-level method.'
      end
      require file
      if rest.empty?
        ->(event, context) { TOPLEVEL.__send__(method, event: event, context: context) }
      else
        ->(event, context) { Kernel.const_get(rest[0]).send(method, event: event, context: context) }
      end
    end

    def serve(connection, handler, request)
      id = self.request_id = request['Lambda-Runtime-Aws-Request-Id']
      ENV['_X_AMZN_TRACE_ID'] = request['Lambda-Runtime-Trace-Id']
      begin
        body, type = AwsLambda::Marshaller.marshall_response(
          handler.call(AwsLambda::Marshaller.marshall_request(request), LambdaContext.new(request))
        )
        body = body.read || '' if body.respond_to?(:read)
      rescue Exception => e # rubocop:disable Lint/RescueException -- exit is an error, too
        failure = Failure.new(e, 'Function')
        # A name that does not exist, or no standard error, ends the process as on AWS.
        critical = e.is_a?(NameError) || !e.is_a?(StandardError)
        failure.log(critical ? 'Critical exception from handler' : 'Error raised from handler method')
        connection.post("invocation/#{id}/error", failure.json, error_type: failure.header, ask: !critical)
        connection.receive
        exit(255) if critical
        return
      end
      connection.post("invocation/#{id}/response", body, content_type: type || 'application/json')
      connection.receive
    ensure
      self.request_id = nil
    end
  end
end

Lamina::TOPLEVEL = self
Lamina.run
