# gems.rb DIRECTORY: makes a source of gems with one gem for each platform, whose files are in DIRECTORY/files.
require "rubygems/package"
Dir.chdir(ARGV[0])
Dir.mkdir("gems")
Dir.mkdir("lib")
%w[ruby x86_64-linux aarch64-linux].each do |platform|
  File.write("lib/greeting.rb", "module Greeting; PLATFORM = #{platform.inspect}; end\n")
  spec = Gem::Specification.new do |s|
    s.name, s.version, s.platform, s.summary, s.authors, s.files = "greeting", "1.0.0", platform, "A greeting", ["nobody"], ["lib/greeting.rb"]
    s.homepage, s.license, s.date = "https://example.com", "MIT", "2024-02-29"
  end
  File.rename(Gem::Package.build(spec), "gems/#{spec.file_name}")
end
system("gem", "generate_index", "--directory", ".", exception: true)
