import type { FastifyInstance, FastifyRequest } from 'fastify';
import { optionalPackage } from '../../kit/optional-package.js';
import { version } from '../../version.js';
import { mountOf } from './mount.js';
import { about } from './route.js';

/** Collects the OpenAPI document. Register it before the routes, since it sees only those added later. */
export async function addDocument(app: FastifyInstance): Promise<void> {
  await app.register((await optionalPackage('@fastify/swagger')).default, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'peerwork',
        version,
        description: 'A Master as a work queue over HTTP. Errors are application/problem+json with a code of the error table.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    refResolver: {
      buildLocalReference: (json, _baseUri, _fragment, index) => (typeof json['$id'] === 'string' ? json['$id'] : `def-${index}`),
    },
  });
}

/** Adds `/openapi.json`, and the pages below `/docs`. */
export async function docsRoutes(app: FastifyInstance): Promise<void> {
  const document = (request: FastifyRequest) => ({ ...app.swagger(), servers: [{ url: mountOf(request.raw) || '/' }] });
  app.get(
    '/openapi.json',
    about('none', 'docs', 'This API as an OpenAPI 3.1 document', { response: { type: 'object' } }),
    async (request) => document(request),
  );
  await app.register((await optionalPackage('@fastify/swagger-ui')).default, {
    routePrefix: '/docs',
    transformSpecificationClone: false,
    transformSpecification: (_document, request) => document(request),
    uiConfig: { docExpansion: 'list', persistAuthorization: true },
  });
}
