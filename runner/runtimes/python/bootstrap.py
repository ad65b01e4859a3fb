import lamina_runtime

lamina_runtime.main()
