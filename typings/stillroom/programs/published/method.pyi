from programs.published.method import *
