"""What the tests share: real servers, builders and fakes. Holds no tests."""
