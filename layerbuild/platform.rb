# Has RubyGems and Bundler choose gems for another machine, which is named in LAMINA_GEM_PLATFORM.
module Gem
  class Platform
    class << self
      def local(*, **)
        @lamina_local ||= new(ENV.fetch("LAMINA_GEM_PLATFORM"))
      end
    end
  end
  self.platforms = [Gem::Platform::RUBY, Gem::Platform.local]
end
